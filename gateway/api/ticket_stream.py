"""A ticket as a stream: one response class under every streaming dialect.

The headers wait for the ticket's first event, so that an error before the first token keeps its
HTTP status. A stream that waits in the queue for long gets its headers all the same, and something
that means nothing from then on, because proxies and clients drop connections that stay silent.
"""

from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.reply import serve_ticket
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.ticket import ClientEvent, Ticket


class ChunkRenderer(Protocol):
    """A dialect's events as bytes, with what ends each of them."""

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


class TicketStream(Response):
    """Streams a ticket to the client, and cancels it if the client hangs up."""

    def __init__(
        self, dispatcher: Dispatcher, ticket: Ticket, renderer: ChunkRenderer, keepalive: float
    ) -> None:
        """``keepalive``: seconds of silence before headers, and between comments."""
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.ticket = ticket
        self._dispatcher = dispatcher
        self._renderer = renderer
        self._keepalive = keepalive

    def late(self) -> bytes:
        """Return what tells how long it waited, where the headers came too early for that."""
        return b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = self._respond(scope, receive, send)
        try:
            await serve_ticket(self._dispatcher, self.ticket, receive, work)
        except ClientDisconnect:
            return

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            events = await self.ticket.take(self._keepalive)
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
                    chunk, told = self.late() + chunk, True
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if self.ticket.ended and not self.ticket.pending:
                    break
                events = await self.ticket.take(self._keepalive)
        except ForgeError as error:
            body = (b"" if told else self.late()) + self._renderer.error(error)
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
