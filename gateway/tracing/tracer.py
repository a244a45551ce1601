"""Draws which requests are kept, and hands their spans on."""

import os
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from gateway.core.errors import ForgeError
from gateway.core.trace import Trace, from_headers
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.tracing.span import Span
from gateway.tracing.work import work_spans


class Sink(Protocol):
    """Takes spans that have ended; no request waits for a collector."""

    def draw(self, name: str) -> bool:
        """Return whether a trace that begins with a span of this name is kept."""
        ...

    def emit(self, span: Span) -> None: ...

    def counts(self) -> Mapping[str, int]:
        """Return the number of spans so far, by what became of them."""
        ...

    def flush(self) -> None:
        """Send what waits, and return when that is done; for measurements."""
        ...

    async def close(self) -> None:
        """Deliver what is left, within a bound."""
        ...


class Tracer:
    """The spans of requests. Implements :class:`gateway.dispatch.observer.Observer`."""

    def __init__(self, sink: Sink, model: str) -> None:
        """``model``: that of requests which name none."""
        self._sink = sink
        self._model = model
        self._open: dict[str, Ticket | None] = {}
        """Requests that are being answered, by their spans, and their tickets that have ended."""

    def begin(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Trace | None:
        """Return the trace of a request that has just come; None if there is none.

        A client's trace is gone on with, but whether its spans are kept is drawn here, as for any
        other request: neither the flag nor the id that a client sends has a say, or it could have
        all of its requests kept.
        """
        trace = from_headers(headers)
        if not self._sink.draw(name):
            return trace
        if trace is None:
            trace = Trace(os.urandom(16).hex())
        trace.request_span, trace.work_span = os.urandom(8).hex(), os.urandom(8).hex()
        trace.epoch_ns = time.time_ns() - time.monotonic_ns()
        self._open[trace.request_span] = None
        return trace

    def end(self, span: Span) -> None:
        """Hand on the span of a request that :meth:`begin` began, and those of its work."""
        self._sink.emit(span)
        ticket = self._open.pop(span.trace.request_span)
        if ticket is not None:
            self._emit_work(ticket, span.trace)

    def counts(self) -> Mapping[str, int]:
        """Return the number of spans so far, by what became of them."""
        return self._sink.counts()

    def flush(self) -> None:
        """Send what waits, and return when that is done; for measurements."""
        self._sink.flush()

    async def close(self) -> None:
        """Deliver what is left, within a bound."""
        await self._sink.close()

    def on_end(self, ticket: Ticket) -> None:
        """Make the spans of a ticket that has just ended, once its answer is written.

        Only then it is known if that is a stream. Work behind a request may end after it.
        """
        trace = ticket.job.trace
        if trace is None or not trace.sampled:
            return
        if trace.request_span in self._open:
            self._open[trace.request_span] = ticket
        else:
            self._emit_work(ticket, trace)

    def _emit_work(self, ticket: Ticket, trace: Trace) -> None:
        for span in work_spans(ticket, trace, self._model):
            self._sink.emit(span)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Ignore it: the span of the request tells it."""

    def on_unparked(self, seconds: float) -> None:
        """Ignore it: the course of the sequence has it."""

    def on_violation(self, what: str) -> None:
        """Ignore it: the dispatcher logs it."""
