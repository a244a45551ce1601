"""A response that is made behind its request: its client may leave, come again, and cancel it."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.api.responses.archive import Archive, MadeResponse
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.generation import Generation
from gateway.dispatch.dispatcher import Dispatcher


class BackgroundRun:
    """One such response, from its start to its end."""

    def __init__(
        self, archive: Archive, owner: str, dispatcher: Dispatcher, generation: Generation
    ) -> None:
        self.log = EventLog()
        self._archive = archive
        self._owner = owner
        self._dispatcher = dispatcher
        self._generation = generation
        self._writing: asyncio.Task[None] | None = None
        self._whole: asyncio.Task[None] | None = None

    def start(self, made: MadeResponse, ended: Callable[[], Awaitable[None]]) -> None:
        """Begin. ``made`` has been kept, and has this log; ``ended`` is called at the end."""
        self._writing = asyncio.create_task(self._write(made))
        self._whole = asyncio.create_task(self._run(made, self._writing, ended))

    async def _run(
        self,
        made: MadeResponse,
        writing: "asyncio.Task[None]",
        ended: Callable[[], Awaitable[None]],
    ) -> None:
        """See it to its end, which comes also if it is stopped before it has begun."""
        await asyncio.wait([writing])
        try:
            if not writing.cancelled():
                writing.result()
        finally:
            self._close()
            await self._archive.ended(self._owner, made)
            await ended()

    async def _write(self, made: MadeResponse) -> None:
        async for events in self._generation.events():
            self.log.add(events)
            self._archive.grown(self._owner, made)

    def _close(self) -> None:
        if not self._generation.writer.ended:
            self.log.add(self._generation.writer.cancel())
        self.log.close()
        self._dispatcher.cancel(self._generation.ticket)

    def stop(self) -> None:
        """End it before its time; it is told as cancelled at once."""
        if self._generation.writer.ended:
            return
        self._close()
        if self._writing is not None:
            self._writing.cancel()
