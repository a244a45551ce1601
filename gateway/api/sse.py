"""Server-sent events: one response class for every streaming dialect.

The headers wait for the ticket's first event, so that an error before the first token keeps its
HTTP status. A stream that waits in the queue for long gets its headers all the same, and comments
from then on, because proxies and clients drop connections that stay silent; how long it waited in
all is then told in a comment too.

A comment is a line without a blank one behind it, and stands before an event, never in one. The
standard has a blank line dispatch nothing where there is no data, but several clients (those of Go
and older ones of Python among them) take it for an event without data, and fail to parse that.
"""

from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.reply import serve_ticket
from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.ticket import ClientEvent, Ticket

COMMENT = b": waiting\n"


class ChunkRenderer(Protocol):
    """A dialect's events as bytes, blank line included."""

    def waiting(self) -> bytes:
        """Bytes that keep the connection open while nothing comes: a comment, or an event."""
        ...

    def event(self, event: ClientEvent) -> bytes:
        """One event of the generation; may be empty."""
        ...

    def error(self, error: ForgeError) -> bytes:
        """The last event of a stream that failed after its headers."""
        ...

    def refusal(self, error: ForgeError) -> Response:
        """The whole response of a request that failed before its headers."""
        ...


class EventStream(Response):
    """Streams a ticket to the client, and cancels it if the client hangs up."""

    def __init__(
        self, dispatcher: Dispatcher, ticket: Ticket, renderer: ChunkRenderer, keepalive: float
    ) -> None:
        """``keepalive``: seconds of silence before headers, and between comments."""
        super().__init__(
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )
        del self.headers["content-length"]
        self._dispatcher = dispatcher
        self._ticket = ticket
        self._renderer = renderer
        self._keepalive = keepalive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self._respond(scope, receive, send)
        try:
            await serve_ticket(self._dispatcher, self._ticket, receive, work)
        except ClientDisconnect:
            return

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            events = await self._ticket.take(self._keepalive)
        except ForgeError as error:
            await self._renderer.refusal(error)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        told = bool(events)  # the headers know how long it waited
        try:
            while True:
                # Everything that is there goes out in one write: a slow reader gets fewer, larger.
                renderer = self._renderer
                chunk = b"".join(map(renderer.event, events)) if events else renderer.waiting()
                if events and not told:
                    chunk, told = self._queue_wait() + chunk, True
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if self._ticket.ended and not self._ticket.pending:
                    break
                events = await self._ticket.take(self._keepalive)
        except ForgeError as error:
            body = (b"" if told else self._queue_wait()) + self._renderer.error(error)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _queue_wait(self) -> bytes:
        started = self._ticket.dispatched_ns or self._ticket.ended_ns
        assert started is not None, "neither started nor ended"
        return f": queue-wait {(started - self._ticket.arrived_ns) / NANO:.6f}\n".encode()
