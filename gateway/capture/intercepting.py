"""The ASGI layer that captures: behind the keys, around all dialects.

Everything that a dialect reads and sends passes here as bytes, so there is no code for any of them.
A request that is not captured passes without a layer of its own: the application's own coroutine is
handed on.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.capture.asking import HEADER, asked, wants
from gateway.capture.keeper import CaptureKeeper
from gateway.core.api_key import ApiKey, CaptureMode
from gateway.core.errors import ForgeError

_NAME = HEADER.lower().encode()


class Capturing:
    """Captures the requests for which their key, or the server, says so."""

    def __init__(
        self,
        app: ASGIApp,
        keeper: CaptureKeeper,
        groups: Mapping[str, str],
        usual: CaptureMode,
        respond: Callable[[Request, ForgeError], Response],
    ) -> None:
        """``groups``: the paths that are captured, each with the name of its dialect.

        ``usual``: what counts for keys whose table says nothing. ``respond`` makes an error's
        response in the shape of the dialect.
        """
        self._app, self._keeper, self._groups = app, keeper, groups
        self._usual: CaptureMode = usual
        self._respond = respond

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope.get("path") not in self._groups or scope.get("method") != "POST":
            return self._app(scope, receive, send)
        key: ApiKey = scope["state"]["key"]
        mode = key.capture or self._usual
        if mode == "always":
            return self._captured(scope, receive, send)
        value = asked(scope, self._groups)
        if value is None:
            return self._app(scope, receive, send)
        try:
            wanted = wants(value, mode)
        except ForgeError as error:
            return self._respond(Request(scope), error)(scope, receive, send)
        return (self._captured if wanted else self._app)(scope, receive, send)

    async def _captured(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and have the request kept afterwards."""
        recording = self._keeper.begin(self._groups[scope["path"]], scope)
        if recording is None:
            await self._app(scope, receive, send)
            return
        told = _NAME, recording.id.encode()
        scope["state"]["captured"] = True  # its job is to note which workers have it

        async def received() -> Message:
            message = await receive()
            recording.received(message)
            return message

        async def sent(message: Message) -> None:
            recording.sent(message)
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], told]}
            await send(message)

        try:
            await self._app(scope, received, sent)
        except Exception:  # a bug; its answer is made further out
            recording.status = recording.status or 500
            raise
        finally:
            self._keeper.end(recording, scope["state"])
