"""Streams of the dialect: one that is generated while its client listens, and one of a log."""

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.openai.errors import error_response
from gateway.api.reply import serve_ticket, unless_hung_up
from gateway.api.responses.event_log import frame
from gateway.api.responses.generation import Generation
from gateway.api.sse import COMMENT
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class _Events(Response):
    """Server-sent events; the headers wait for the first."""

    def __init__(self) -> None:
        super().__init__(headers=HEADERS, media_type="text/event-stream")
        del self.headers["content-length"]

    async def _send(self, frames: AsyncIterator[bytes], send: Send) -> None:
        begun = False
        async for data in frames:
            if not begun:
                begun = True
                start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                await send(start)
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        if not begun:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class GenerationStream(_Events):
    """A generation; it ends when its client hangs up."""

    def __init__(
        self, dispatcher: Dispatcher, generation: Generation, ended: Callable[[], Awaitable[None]]
    ) -> None:
        """``ended`` is called before the last event is sent."""
        super().__init__()
        self._dispatcher = dispatcher
        self._generation = generation
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self._respond(scope, receive, send)
        try:
            await serve_ticket(self._dispatcher, self._generation.ticket, receive, work)
        except ClientDisconnect:
            return

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._send(self._frames(), send)
        except ForgeError as error:  # before the first event
            await error_response(error)(scope, receive, send)

    async def _frames(self) -> AsyncIterator[bytes]:
        async for events in self._generation.events():
            if self._generation.writer.ended:
                await self._ended()
            yield b"".join(map(frame, events))


class LogStream(_Events):
    """The events of a log, as they come; the work does not care who reads."""

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        """``events``: frames, and b"" for a silence, for which a comment is sent."""
        super().__init__()
        self._followed = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_hung_up(receive, self._send(self._frames(), send))
        except ClientDisconnect:
            return

    async def _frames(self) -> AsyncIterator[bytes]:
        async for data in self._followed:
            yield data or COMMENT
