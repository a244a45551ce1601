"""Metrics of all requests so far, in constant memory however many came.

Quantiles come from a DDSketch (1 % relative error, bounded bins); the Prometheus text from
counters and histograms of our own, and from the queue and the pool as they stand at that moment.
"""

import time
from collections import Counter as Tally

from typing_extensions import TypedDict

from gateway.core.errors import ForgeError
from gateway.dispatch.job import Job
from gateway.dispatch.outcome import Outcome
from gateway.dispatch.ticket import Meter, Ticket
from gateway.telemetry.loop_lag import LoopLag
from gateway.telemetry.metrics.instruments import nanoseconds
from gateway.telemetry.metrics.models import Loads, ModelLabels
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.metrics.requests import GAPS, SECONDS, Requests
from gateway.telemetry.metrics.sketch import Sketch
from gateway.telemetry.metrics.state import Process

LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5)
_MAX_BINS = 1024
"""Bins of a sketch: at 1 % error these cover nine decades, microseconds to minutes and more."""


class Outcomes(TypedDict):
    """Requests since the start, by how they ended."""

    finished: int
    failed: int
    cancelled: int
    """Requests whose clients hung up."""
    total: int


class Summary(TypedDict):
    """The study project's metrics, with a little more."""

    queue_depth: int
    """Sequences that wait; a request with ``n`` has several."""
    running: int
    """Sequences with a slot."""
    p50_latency_ms: float
    """From arrival to the end, of finished requests; 0 before the first."""
    p99_latency_ms: float
    event_loop_lag_max_ms: float
    """The longest lag of the event loop in the last minute."""
    requests: Outcomes


class Metrics:
    """Counts tickets as they end. Implements :class:`gateway.dispatch.observer.Observer`."""

    def __init__(self, *models: str, others: str | None = None) -> None:
        """``models``: the names that clients know them by; the first is the default.

        ``others``: the label of all models that come later, if any may.
        """
        self.registry = Registry()
        self._latency_ms = Sketch(0.01, _MAX_BINS)
        self._outcomes: Tally[Outcome] = Tally()
        self.labels = ModelLabels(models, others)
        self._requests = Requests(self.registry, self.labels, time.time)
        self.loads = Loads(self.registry, self.labels)
        self.labels.on_new = self._grow
        self._violations = self.registry.counter(
            "invariant_violations", "Bugs noticed by self-checks", {}
        )
        text = "Requests with parameters that were ignored and named in a header"
        self._ignored = self.registry.counter("requests_with_ignored_parameters", text, {})
        text = "Time for which a sequence was parked"
        self._parked = self.registry.seconds("request_parked_time", text, SECONDS, {}).of()
        text = "Delay of timers of the event loop"
        looks = self.registry.seconds("event_loop_lag", text, LAGS, {}).of()
        self.lag = LoopLag(time.monotonic, lambda late_s: looks.observe(nanoseconds(late_s)))
        text = "The longest lag of the last minute"
        self.registry.gauge("event_loop_lag_max_seconds", text, lambda: self.lag.worst_s)
        self.registry.add(Process())

    def _grow(self, model: str) -> None:
        """Have all series for one model more."""
        self.registry.grow("model", model)
        self._requests.grow(model)

    # ------------------------------------------------------------------ what happens

    def meter(self, job: Job) -> Meter:
        """Return the meter that counts a job's tokens."""
        return self._requests.meter(job)

    def gaps(self) -> tuple[tuple[float, ...], list[int]]:
        """Times between two tokens since the start: bounds in seconds, and each bucket's count."""
        return GAPS, self._requests.gaps()

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Count a request that was refused."""
        self._requests.refused(job, error)

    def on_ignored(self) -> None:
        """Count a request with parameters that were ignored and named."""
        self._ignored.add(())

    def on_end(self, ticket: Ticket) -> None:
        """Count a ticket that just ended."""
        ending = self._requests.ended(ticket)
        self._outcomes[ending] += 1
        if ending == "finished" and ticket.ended_ns is not None:
            self._latency_ms.add((ticket.ended_ns - ticket.arrived_ns) / 1e6)

    def on_error(self, error: ForgeError) -> None:
        """Count an answer that is an error."""
        self._requests.answered(error)

    def on_unparked(self, seconds: float) -> None:
        """Count a pause that is over."""
        self._parked.observe(nanoseconds(seconds))

    def on_violation(self, what: str) -> None:
        """Count a bug that was noticed."""
        self._violations.add(())

    # ------------------------------------------------------ the study project's view of it

    def quantile_ms(self, q: float) -> float:
        """Return the end-to-end latency of finished requests in ms; 0 before the first."""
        value = self._latency_ms.quantile(q)
        return round(value, 3) if value is not None else 0.0

    def summary(self, queue_depth: int, running: int) -> Summary:
        """Return the answer to ``GET /metrics``."""
        total = self._outcomes.total()
        return {
            "queue_depth": queue_depth,
            "running": running,
            "p50_latency_ms": self.quantile_ms(0.5),
            "p99_latency_ms": self.quantile_ms(0.99),
            "event_loop_lag_max_ms": round(1000 * self.lag.worst_s, 3),
            "requests": {
                "finished": self._outcomes["finished"],
                "failed": total - self._outcomes["finished"] - self._outcomes["cancelled"],
                "cancelled": self._outcomes["cancelled"],
                "total": total,
            },
        }
