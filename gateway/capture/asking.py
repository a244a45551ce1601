"""The header by which a request asks to be captured, and the answer of a server that can't."""

from collections.abc import Awaitable, Callable, Collection

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.core.api_key import CaptureMode
from gateway.core.errors import BadRequest, CaptureNotAllowed, ForgeError

HEADER = "X-Capture"
ON, OFF = (b"1", b"true", b"on", b"yes"), (b"0", b"false", b"off", b"no")
_NAME = HEADER.lower().encode()

NOT_BY_KEY = (
    "captures are not allowed for this API key: its table needs "
    'capture = "header", or the server --capture header'
)
NO_PLACE = "this server keeps no captures: it needs --data-dir or --database"


def asked(scope: Scope, paths: Collection[str]) -> bytes | None:
    """Return what a request says in the header; None if nothing, or on no path of ``paths``."""
    if scope.get("path") not in paths or scope.get("method") != "POST":
        return None
    return next((value for name, value in scope["headers"] if name == _NAME), None)


def wants(value: bytes, mode: CaptureMode, refusal: str = NOT_BY_KEY) -> bool:
    """Tell if a header asks for a capture. Raises BadRequest, or CaptureNotAllowed."""
    said = value.strip().lower()
    if said in OFF:
        return False
    if said not in ON:
        raise BadRequest(f"'{HEADER}': expected 1 or 0", param=HEADER)
    if mode == "off":
        raise CaptureNotAllowed(f"'{HEADER}': {refusal}", param=HEADER)
    return True


class NoCaptures:
    """Refuses requests that ask to be captured where there is no place for captures.

    Else a client would look for a capture that was never made.
    """

    def __init__(
        self,
        app: ASGIApp,
        paths: Collection[str],
        respond: Callable[[Request, ForgeError], Response],
    ) -> None:
        """``respond`` makes an error's response in the shape of the dialect."""
        self._app, self._paths, self._respond = app, paths, respond

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        value = asked(scope, self._paths)
        if value is not None:
            try:
                wants(value, "off", NO_PLACE)
            except ForgeError as error:
                return self._respond(Request(scope), error)(scope, receive, send)
        return self._app(scope, receive, send)
