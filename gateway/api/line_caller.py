"""One line of a batch, answered by the very endpoints that answer clients, without a socket.

A line is a request in all but its connection: it has the same validation, aliases, limits,
dialects, usage, metrics and line of log. It comes in behind the check of keys, in the name of the
key that made the batch, and only to the endpoints named in :data:`PATHS`: a line can't make files
or batches. Three things differ from a client's request. A body that asks for no priority gets the
batch's; the job may be *spare* (see :mod:`gateway.dispatch.queues`); and a response is
stored only if its line says so, for the answers of one batch would push out all that their owner
has stored.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Scope

from gateway.batches.input_line import WHOLE
from gateway.core.api_key import ApiKey
from gateway.core.errors import BadRequest, ForgeError, InternalError
from gateway.dispatch.ticket import Ticket, new_name, request_name

log = logging.getLogger("forge.lines")

RESPONSES = "/v1/responses"
PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    RESPONSES,
    "/v1/messages",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/score",
)
"""Endpoints that answer lines, each with one JSON object, or with one array of `texts`."""
MOST_ANSWER = 32 << 20
"""Bytes of an answer that is kept; vectors of thousands of texts have more."""


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """The answer to a line, as a client would have got it."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: Any
    """A JSON object, or an array as rankers answer `texts`."""

    @property
    def request_id(self) -> str:
        """The request's name in the log, which clients see as ``X-Request-Id``."""
        return self.headers.get("x-request-id", "")


@dataclass(slots=True)
class _Collected:
    """A response as it is sent."""

    most: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0

    async def send(self, message: Message) -> None:
        """Take one message of ASGI's; of too large a body nothing is kept."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in message["headers"]
            }
            return
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        if self.size > self.most:
            self.chunks.clear()
        else:
            self.chunks.append(chunk)

    @property
    def too_large(self) -> bool:
        return self.size > self.most

    def answer(self) -> LineAnswer:
        """Return the whole. Raises ValueError if it is no JSON object or array."""
        value = orjson.loads(b"".join(self.chunks))
        if not isinstance(value, dict | list):
            raise ValueError("the answer is no JSON object or array")
        return LineAnswer(self.status, self.headers, value)


class LineCaller:
    """Calls the endpoints, and knows the lines that are in flight."""

    def __init__(
        self,
        app: ASGIApp,
        respond: Callable[[Request, ForgeError], Response],
        promote: Callable[[Ticket, float], None],
        most_answer: int = MOST_ANSWER,
    ) -> None:
        """``app``: the endpoints of :data:`PATHS` without the check of keys.

        ``respond`` counts an error and makes its response in the shape of the dialect. ``promote``
        makes a spare ticket an ordinary one of a priority at least.
        """
        self._app = app
        self._respond = respond
        self._promote = promote
        self._most_answer = most_answer
        self._open: dict[str, dict[str, Any]] = {}
        """The states of the lines in flight, by the names of their requests."""

    async def call(
        self,
        key: ApiKey,
        url: str,
        body: Mapping[str, Any],
        priority: float,
        spare: bool,
        request_id: str = "",
        origin: str = "",
    ) -> LineAnswer:
        """Return the answer of the endpoint at ``url``; an error is an answer, too.

        ``priority`` is that of a body that asks for none, as far as the key allows it.
        ``request_id`` becomes the request's name, which no other line in flight may have; "": a
        new one. ``origin``: the span of the request that made the batch, as a traceparent.
        Cancelling is a client's hanging up: nothing more is computed.
        """
        name = request_id or new_name()
        assert name not in self._open, "two lines of one name"
        state = {
            "key": key,
            "usual_priority": priority,
            "spare": spare,
            "name": name,
            "origin": origin,
        }
        scope = _scope(url, state)
        try:
            scope["headers"], content = _request(url, body)
        except ForgeError as error:
            return await self._failed(scope, error)
        self._open[name] = state
        try:
            return await self._answered(scope, content)
        finally:
            del self._open[name]

    def raise_priority(self, request_id: str, priority: float) -> None:
        """Make a line in flight an ordinary request of this priority, as far as its key allows it.

        One that asked for more itself keeps it. Does nothing to a line that is not in flight.
        """
        state = self._open.get(request_id)
        if state is None:
            return
        state["spare"] = False
        state["usual_priority"] = max(priority, state["usual_priority"])
        ticket: Ticket | None = state.get("ticket")
        if ticket is not None:
            key: ApiKey = state["key"]
            self._promote(ticket, min(priority, key.max_priority))

    async def _answered(self, scope: Scope, content: bytes) -> LineAnswer:
        found = _Collected(self._most_answer)
        try:
            await self._app(scope, _receiver(content), found.send)
        except Exception:
            # A bug: the endpoints' net has answered, and raises it again for the log.
            log.exception("a line of a batch: %s", scope["path"])
        if found.too_large:
            message = f"the answer has {found.size} bytes, and a line's {found.most} at most"
            return await self._failed(scope, BadRequest(message))
        try:
            return found.answer()
        except ValueError:
            return await self._failed(scope, InternalError("internal error"))

    async def _failed(self, scope: Scope, error: ForgeError) -> LineAnswer:
        """Return the answer that a client would get to ``error``."""
        found = _Collected(self._most_answer)
        response = self._respond(Request(scope), error)
        await response(scope, _receiver(b""), found.send)
        found.headers["x-request-id"] = request_name(scope["state"])
        return found.answer()


def _request(url: str, body: Mapping[str, Any]) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the content of a line's request. Raises BadRequest."""
    for name in WHOLE:
        if body.get(name):
            raise BadRequest(f"'{name}': a line of a batch has one whole answer", param=name)
    if url == RESPONSES and body.get("store") is None:
        body = {**body, "store": False}
    try:
        content = orjson.dumps(body)
    except TypeError as error:  # nested more deeply than is written, though it was read
        raise BadRequest(f"the body can't be written as JSON: {error}") from None
    length = str(len(content)).encode()
    return [(b"content-type", b"application/json"), (b"content-length", length)], content


def _scope(url: str, state: dict[str, Any]) -> Scope:
    """Return what a server would tell of the request; no client, so that none is taken for near."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": url,
        "raw_path": url.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "state": state,
    }


def _receiver(content: bytes) -> Callable[[], Any]:
    """Return the channel of a client that sends its body at once, and stays."""
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("never")

    return receive
