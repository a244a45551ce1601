"""A response that is made behind its request: its client may leave, come again, and cancel it."""

import asyncio
from collections.abc import Callable

from gateway.api.responses.archive import Archive, StoredResponse
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.generation import Generation
from gateway.dispatch.dispatcher import Dispatcher


class BackgroundRun:
    """One such response, from its start to its end."""

    def __init__(
        self, archive: Archive, owner: str, dispatcher: Dispatcher, generation: Generation
    ) -> None:
        self.log = EventLog()
        self.stored: StoredResponse | None = None
        self._archive = archive
        self._owner = owner
        self._dispatcher = dispatcher
        self._generation = generation
        self._task: asyncio.Task[None] | None = None
        self._ended: Callable[[], None] = lambda: None

    def start(self, stored: StoredResponse, ended: Callable[[], None]) -> None:
        """Begin. ``stored`` has been kept, and has this log; ``ended`` is called at the end."""
        self.stored = stored
        self._ended = ended
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        assert self.stored is not None
        try:
            async for events in self._generation.events():
                self.log.add(events)
                self._archive.grown(self._owner, self.stored)
        finally:
            self._end()

    def _end(self) -> None:
        if not self._generation.writer.ended:
            self.log.add(self._generation.writer.cancel())
        self.log.close()
        self._dispatcher.cancel(self._generation.ticket)
        if self.stored is not None:
            self._archive.ended(self._owner, self.stored)
        self._ended()

    def stop(self) -> None:
        """End it before its time; it is told as cancelled at once."""
        if self._generation.writer.ended:
            return
        self.log.add(self._generation.writer.cancel())
        self.log.close()
        self._dispatcher.cancel(self._generation.ticket)
        if self._task is not None:
            self._task.cancel()
