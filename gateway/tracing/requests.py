"""The span of an HTTP request, from its head to the last byte of its answer."""

import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.trace import Trace, read_trace
from gateway.dispatch.ticket import request_name
from gateway.tracing.span import Attributes, Span
from gateway.tracing.tracer import Tracer

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}
)
MOST_PATH = 256
"""Characters of a path in a span."""
MOST_AGENT = 256
"""Characters of a client's name for itself in a span."""
STREAMS = (b"text/event-stream", b"application/x-ndjson")


class TracedRequests:
    """Makes a span of each request that is kept; others pass as if it were not here."""

    def __init__(
        self, app: ASGIApp, tracer: Tracer, quiet: Collection[str], *, lines: bool = False
    ) -> None:
        """``quiet``: paths, or their beginnings before a "{", whose requests are never kept.

        ``lines``: the requests are lines of batches, and came by no connection.
        """
        self._app = app
        self._tracer = tracer
        self._quiet = frozenset(path for path in quiet if "{" not in path)
        self._quiet_begins = tuple(path.partition("{")[0] for path in quiet if "{" in path)
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_quiet(scope["path"]):
            await self._app(scope, receive, send)
            return
        trace = self._tracer.begin(scope["path"], scope["headers"])
        scope.setdefault("state", {})["trace"] = trace
        if trace is None or not trace.sampled:
            await self._app(scope, receive, send)
            return
        start_ns, noted = time.monotonic_ns(), _Noted(trace, send)
        try:
            await self._app(scope, receive, noted.send)
        finally:
            self._tracer.end(self._span(scope, trace, noted.status, start_ns))

    def _is_quiet(self, path: str) -> bool:
        return path in self._quiet or path.startswith(self._quiet_begins)

    def _span(self, scope: Scope, trace: Trace, status: int | None, start_ns: int) -> Span:
        failed = status is None or status >= 500
        attributes = _request(scope)
        if status is not None:
            attributes["http.response.status_code"] = status
        if failed:
            attributes["error.type"] = "no_response" if status is None else str(status)
        route = attributes.get("http.route")
        method = str(attributes["http.request.method"]).replace("_OTHER", "HTTP")
        links = list[Trace]()
        if self._lines:
            method, attributes["forge.batch.line"] = "batch line", True
            origin = read_trace([scope["state"].get("origin", "")], ())
            links += [] if origin is None else [origin]
        return Span(
            trace=trace,
            name=method if route is None else f"{method} {route}",
            span_id=trace.request_span,
            parent=trace.parent_span,
            remote=True,
            kind="internal" if self._lines else "server",
            start_ns=trace.epoch_ns + start_ns,
            end_ns=trace.epoch_ns + time.monotonic_ns(),
            attributes=attributes,
            links=links,
            error=str(attributes["error.type"]) if failed else None,
        )


class _Noted:
    """Passes a response on, and keeps its status."""

    def __init__(self, trace: Trace, send: Send) -> None:
        self._trace = trace
        self._send = send
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            kind = next(
                (v for name, v in message["headers"] if name.lower() == b"content-type"), b""
            )
            self._trace.streamed = kind.startswith(STREAMS)
        await self._send(message)


def _request(scope: Scope) -> Attributes:
    """Return what a request's head says, bounded."""
    method = scope["method"]
    found: Attributes = {
        "http.request.method": method if method in METHODS else "_OTHER",
        "url.scheme": scope["scheme"],
        "url.path": _shown(scope["path"], MOST_PATH),
        "network.protocol.version": scope["http_version"],
        "forge.request.id": request_name(scope["state"]),
    }
    route = getattr(scope.get("endpoint"), "template", None)
    if route is not None:
        found["http.route"] = route
    if scope.get("server"):
        found["server.address"], port = scope["server"]
        if port is not None:
            found["server.port"] = port
    if scope.get("client"):
        found["client.address"] = scope["client"][0]
    agents = (value for name, value in scope["headers"] if name == b"user-agent")
    agent = next(agents, b"")
    if agent:
        found["user_agent.original"] = _shown(agent.decode("latin-1"), MOST_AGENT)
    return found


def _shown(text: str, most: int) -> str:
    """Return the beginning of a text that a client wrote, without what terminals obey."""
    short = text[:most]
    return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)
