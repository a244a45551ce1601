"""Whatever goes wrong with a request as the answer of its dialect."""

from collections.abc import Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from gateway.api import infer, messages, openai
from gateway.api.content_encoding import ACCEPTED
from gateway.api.llama_server import errors as llama_server
from gateway.api.ollama import errors as ollama
from gateway.core.errors import (
    BadRequest,
    BodyTimeout,
    ForgeError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    RangeNotSatisfiable,
    UnsupportedEncoding,
)
from gateway.dispatch.ticket import request_name

MOST_TOLD = 200
"""Characters of a path that an error repeats."""


def respond(path: str, error: ForgeError, name: str) -> Response:
    """Return an error in the shape of the dialect at ``path``, to the request of this ``name``."""
    if messages.speaks(path):
        return messages.error_response(error, name)
    if ollama.speaks(path):
        return ollama.error_response(error)
    if llama_server.speaks(path):
        return llama_server.error_response(error)
    if path == "/infer":
        return infer.error_response(error)
    return openai.error_response(error)


class Failures:
    """Makes the answers, and has them counted."""

    def __init__(
        self, count: Callable[[ForgeError], None], near: Callable[[str], Sequence[str]]
    ) -> None:
        """``near`` tells what there is near a path at which there is nothing."""
        self._count = count
        self._near = near

    def handlers(self) -> Mapping[int | type[Exception], ExceptionHandler]:
        """Return starlette's table of handlers by exception."""
        return {
            ForgeError: self._forge_error,
            HTTPException: self._http_error,
            ClientDisconnect: self._gone,
            Exception: self._bug,
        }

    def answer(self, request: Request, error: ForgeError) -> Response:
        """Count an error, and return its response."""
        self._count(error)
        state = request.scope["state"]
        state["failed"] = error.code, error.message  # for a capture
        response = respond(request.scope["path"], error, request_name(state))
        if isinstance(error, BodyTimeout):
            # What still comes would be taken for a request.
            response.headers["Connection"] = "close"
        if isinstance(error, UnsupportedEncoding):
            response.headers["Accept-Encoding"] = ACCEPTED
        if isinstance(error, RangeNotSatisfiable):
            response.headers["Content-Range"] = f"bytes */{error.size}"
        return response

    async def _forge_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ForgeError)
        return self.answer(request, error)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        """Answer for starlette's own refusals: unknown paths and methods."""
        assert isinstance(error, HTTPException)
        # Not request.url: that is put together with the Host header and taken apart again.
        method, path = request.method, request.scope["path"]
        if error.status_code == 405:
            response = self.answer(request, MethodNotAllowed(f"{method} is not allowed on {path}"))
            response.headers.update(error.headers or {})
            return response
        if error.status_code == 404:
            return self.answer(request, self._nothing_at(path))
        return self.answer(request, BadRequest(error.detail))

    def _nothing_at(self, path: str) -> NotFound:
        near = ", ".join(self._near(path))
        told = path if len(path) <= MOST_TOLD else f"{path[:MOST_TOLD]}..."
        where = f"near it: {near}" if near else "GET /openapi.json lists the endpoints"
        return NotFound(f"there is nothing at {told}; {where}")

    async def _gone(self, request: Request, error: Exception) -> Response:
        """The client hung up, so this is never read. 499 is nginx's number for it."""
        return Response(status_code=499)

    async def _bug(self, request: Request, error: Exception) -> Response:
        return self.answer(request, InternalError("internal error"))
