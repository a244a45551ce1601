"""OpenTelemetry's SDK: the one module that imports it, itself imported only where traces are on.

The SDK reads its own variables: OTEL_TRACES_SAMPLER, its _ARG, OTEL_EXPORTER_OTLP_*, OTEL_BSP_*,
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. Its batches are sent by a thread of its own from a
queue with a bound: a collector that is slow, hangs or is not there costs spans, which are counted,
and never a request's time.

Spans are what the SDK's tracer makes of them at their ends, and are made without it: its locks,
limits and contexts are for spans that are written to while they last, and take four times as long.
"""

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Mapping, Sequence

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status, StatusCode

from gateway.core.trace import Trace
from gateway.tracing.span import Span

log = logging.getLogger("forge.tracing")

FLUSH_S = 3.0
"""Seconds that the end of the server waits for the collector."""
SCOPE = "forge"
OK = Status(StatusCode.UNSET)
KINDS = {"server": api.SpanKind.SERVER, "internal": api.SpanKind.INTERNAL}
TALKATIVE = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")
"""Loggers that write a line for each try of each batch: :class:`Delivery` writes one for all."""


class Exporter:
    """Sends spans to the collector. Implements :class:`gateway.tracing.tracer.Sink`."""

    def __init__(self, place: str, version: str) -> None:
        """``place``: the collector, for the log. Raises ValueError for variables without sense."""
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler  # as the variables say
        self._resource = _resource(version)
        self._scope = InstrumentationScope(SCOPE, version)
        self.delivery = Delivery(OTLPSpanExporter(), place)
        self._batches = BatchSpanProcessor(self.delivery)
        self._made = 0

    @property
    def sampling(self) -> str:
        """Return how traces are drawn, for the log."""
        return self._sampler.get_description()

    def draw(self, name: str) -> bool:
        """Return whether a trace that begins with a span of this name is kept.

        As that of a root without a parent, and with an id that no client knows: samplers by ratio
        look at the id.
        """
        drawn = self._sampler.should_sample(_NOWHERE, random.getrandbits(128), name)
        return drawn.decision is Decision.RECORD_AND_SAMPLE

    def emit(self, span: Span) -> None:
        """Queue a span for its batch."""
        self._made += 1
        trace = span.trace
        trace_id = int(trace.trace_id, 16)
        span_id = int(span.span_id, 16) if span.span_id else random.getrandbits(64) or 1
        state = api.TraceState.from_header([trace.state]) if trace.state else None
        self._batches.on_end(
            ReadableSpan(
                span.name,
                context=api.SpanContext(trace_id, span_id, False, _KEPT, state),
                parent=_above(span, trace_id, state),
                resource=self._resource,
                attributes=span.attributes,
                events=[Event(each.name, each.attributes, each.at_ns) for each in span.events],
                links=[_link(each) for each in span.links],
                kind=KINDS[span.kind],
                status=OK if span.error is None else Status(StatusCode.ERROR, span.error),
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=self._scope,
            )
        )

    def counts(self) -> Mapping[str, int]:
        """Return the number of spans so far, by what became of them."""
        return {"made": self._made, "sent": self.delivery.sent, "lost": self.delivery.lost}

    def flush(self) -> None:
        """Send what waits, and return when that is done; for measurements."""
        self._batches.force_flush()

    async def close(self) -> None:
        """Deliver what is left, for FLUSH_S at most: the thread for it ends with the process."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._batches.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=flush, name="traces_flush", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await done.wait()
        except TimeoutError:
            log.warning("the last spans are lost: the collector took none within %g s", FLUSH_S)


class Delivery(SpanExporter):
    """Counts what is delivered, and logs where that begins to fail and where it works again."""

    def __init__(self, inner: SpanExporter, place: str) -> None:
        self._inner = inner
        self._place = place
        self._failing = False
        self.sent = 0
        self.lost = 0
        """Spans that the collector did not take."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch. Runs in the thread of the batches."""
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed:
            self.lost += len(spans)
        else:
            self.sent += len(spans)
        if failed != self._failing:
            self._failing = failed
            if failed:
                log.warning("spans are lost: the collector at %s does not take them", self._place)
            else:
                log.info("the collector at %s takes spans again", self._place)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


_NOWHERE = Context()
_KEPT = api.TraceFlags(api.TraceFlags.SAMPLED)


def _above(span: Span, trace_id: int, state: api.TraceState | None) -> api.SpanContext | None:
    """Return the span above, if there is one."""
    if not span.parent:
        return None
    return api.SpanContext(trace_id, int(span.parent, 16), span.remote, _KEPT, state)


def _link(to: Trace) -> api.Link:
    """Return a link to the span that a trace names as its parent."""
    trace_id, span_id = int(to.trace_id, 16), int(to.parent_span, 16)
    return api.Link(api.SpanContext(trace_id, span_id, True))


def _resource(version: str) -> Resource:
    """Return what the variables say about this process, and Forge's own for what they don't."""
    said = Resource.create()
    own = {
        "service.name": "forge",
        "service.version": version,
    }
    named = not str(said.attributes["service.name"]).startswith("unknown_service")
    missing = {
        name: value
        for name, value in own.items()
        if name not in said.attributes or (name == "service.name" and not named)
    }
    return said.merge(Resource(missing))
