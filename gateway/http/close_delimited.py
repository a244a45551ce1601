"""Answers to HTTP/1.0, which knows no chunks: the end of the connection is their end."""

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class CloseDelimited:
    """Has a body without a length sent as it is, where uvicorn would send it in chunks."""

    def __init__(self, app: ASGI3Application, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        cycle, sized = self._cycle, True

        async def send_unchunked(message: ASGISendEvent) -> None:
            nonlocal sized
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                sized = b"content-length" in names
                cycle.chunked_encoding = None if sized else False
            elif message["type"] == "http.response.body" and not sized:
                # As far as uvicorn knows, each piece is all that there is to come.
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await self._app(scope, receive, send_unchunked)
