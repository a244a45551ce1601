"""An OpenTelemetry collector on loopback that keeps what it gets, or behaves badly when told to."""

import contextlib
import gzip
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

DEADLINE_S = 60.0
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
"""Milliseconds that a batch waits, in tests."""


@dataclass(frozen=True)
class Received:
    """A span as a collector has it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    """"": it has none."""
    state: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    events: list[tuple[str, int, Mapping[str, Any]]]
    error: str | None
    resource: Mapping[str, Any]
    links: list[tuple[str, str]] = field(default_factory=list)
    """Ids of the traces and spans that it comes from."""

    def names(self) -> set[str]:
        """Return the names of all attributes, those of events included."""
        return set(self.attributes).union(*(about for _, _, about in self.events))


@dataclass
class Collector:
    """Spans that came so far."""

    url: str
    spans: list[Received] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    """The bodies, as they came."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    status: int = 200
    """The answer to what comes next."""
    hung: threading.Event = field(default_factory=threading.Event)
    """While it is not set, nothing is answered."""
    came: threading.Condition = field(default_factory=threading.Condition)

    def environ(self, **more: str) -> dict[str, str]:
        """Return the variables of a server that sends its spans here."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, **QUICK, **more}

    def wait_for(self, n: int = 1, name: str | None = None) -> list[Received]:
        """Return the spans, of a name, as soon as there are so many of them."""

        def found() -> list[Received]:
            return [each for each in self.spans if name is None or each.name == name]

        with self.came:
            enough = self.came.wait_for(lambda: len(found()) >= n, DEADLINE_S)
            assert enough, [each.name for each in self.spans]
            return found()

    def trace(self, n: int, trace_id: str | None = None) -> dict[str, Received]:
        """Return the spans of one trace by their names, as soon as there are so many of it."""
        with self.came:
            enough = self.came.wait_for(lambda: len(self._of(trace_id)) >= n, DEADLINE_S)
            assert enough, [each.name for each in self.spans]
            return {each.name: each for each in self._of(trace_id)}

    def all_of(self, trace_id: str, n: int) -> list[Received]:
        """Return the spans of one trace, as soon as there are so many of it."""
        self.trace(n, trace_id)
        return self._of(trace_id)

    def after(self, seen: int, n: int) -> list[Received]:
        """Return the spans after the first ``seen``, as soon as there are so many of them."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.spans) >= seen + n, DEADLINE_S)
            return self.spans[seen:]

    def _of(self, trace_id: str | None) -> list[Received]:
        return [each for each in self.spans if trace_id in (None, each.trace_id)]

    def take(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Keep the spans of a request."""
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            self.raw.append(body)
            self.headers.append(headers)
            for group in request.resource_spans:
                resource = _plain(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [_received(each, resource) for each in scope.spans]
            self.came.notify_all()


def _received(span: trace_pb2.Span, resource: Mapping[str, Any]) -> Received:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Received(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_plain(span.attributes),
        events=[(e.name, e.time_unix_nano, _plain(e.attributes)) for e in span.events],
        error=span.status.message if failed else None,
        resource=resource,
        links=[(each.trace_id.hex(), each.span_id.hex()) for each in span.links],
    )


def _plain(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {each.key: _value(each.value) for each in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return None if kind is None else getattr(value, kind)


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector that answers."""
    found = Collector("")
    found.hung.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found.hung.wait()
            if found.status == 200:
                found.take(body, dict(self.headers.items()))
            answer = ExportTraceServiceResponse().SerializeToString()
            with contextlib.suppress(OSError):  # whose sender has gone meanwhile
                self.send_response(found.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        found.hung.set()
        server.shutdown()
        thread.join()
        server.server_close()
