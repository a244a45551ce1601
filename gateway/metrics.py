"""What happened so far, in constant memory however many requests came.

Quantiles come from a DDSketch (1 % relative error, bounded bins), everything else from
prometheus_client. Gauges are read from the dispatcher and the pool when somebody scrapes.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping

from ddsketch.ddsketch import LogCollapsingLowestDenseDDSketch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from typing_extensions import TypedDict

from gateway.aging import NANO
from gateway.lag import LoopLag
from gateway.sequence import ENDED, State
from gateway.ticket import Ticket

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5)
_MAX_BINS = 1024
"""Bins of a sketch: at 1 % error these cover nine decades, microseconds to minutes and more."""


class Outcomes(TypedDict):
    """Requests since the start, by how they ended."""

    finished: int
    failed: int
    cancelled: int
    """Their clients hung up."""
    total: int


class Summary(TypedDict):
    """The seed's metrics, with a little more."""

    queue_depth: int
    """Sequences that wait; a request with ``n`` has several."""
    running: int
    """Sequences with a slot."""
    p50_latency_ms: float
    """Of finished requests, from arrival to the end; 0 before the first."""
    p99_latency_ms: float
    event_loop_lag_max_ms: float
    """How late the event loop was at worst in the last minute."""
    requests: Outcomes


class Metrics:
    """Counts tickets as they end. Implements :class:`gateway.observer.Observer`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._latency_ms = LogCollapsingLowestDenseDDSketch(0.01, _MAX_BINS)
        self._outcomes: Tally[State] = Tally()
        requests = Counter(
            "forge_requests", "Requests by how they ended", ["outcome"], registry=self.registry
        )
        self._ended = {state: requests.labels(state.name.lower()) for state in ENDED}
        self._prompt = Counter(
            "forge_prompt_tokens", "Tokens of served prompts", registry=self.registry
        )
        self._cached = Counter(
            "forge_cached_prompt_tokens",
            "Prompt tokens whose KV cells were already computed",
            registry=self.registry,
        )
        self._generated = Counter(
            "forge_generation_tokens", "Tokens sampled", registry=self.registry
        )
        self._violations = Counter(
            "forge_invariant_violations", "Bugs noticed by self-checks", registry=self.registry
        )
        self._queue = self._histogram("request_queue_time", "From arrival to a worker")
        self._ttft = self._histogram("time_to_first_token", "From arrival to the first token")
        self._parked = self._histogram("request_parked_time", "Length of each preemption")
        self._e2e = self._histogram("e2e_request_latency", "From arrival to the end")
        lag = self._histogram("event_loop_lag", "How late timers of the event loop come", _LAGS)
        self.lag = LoopLag(time.monotonic, lag.observe)
        self.watch(
            "event_loop_lag_max_seconds",
            "The longest lag of the last minute",
            lambda: self.lag.worst_s,
        )

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"forge_{name}_seconds", text, buckets=buckets, registry=self.registry)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        Gauge(f"forge_{name}", text, registry=self.registry).set_function(read)

    def count(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        """Add a counter that somebody else keeps, by label, and that is read at each scrape."""
        self.registry.register(_Counts(f"forge_{name}", text, label, read))

    def on_end(self, ticket: Ticket) -> None:
        """Count a ticket that just ended."""
        state = ticket.state
        self._outcomes[state] += 1
        self._ended[state].inc()
        usage = ticket.usage
        for counter, tokens in (
            (self._generated, usage.completion),
            (self._prompt, usage.prompt),
            (self._cached, usage.cached),
        ):
            if tokens:
                counter.inc(tokens)
        if ticket.dispatched_ns is not None:
            self._queue.observe((ticket.dispatched_ns - ticket.arrived_ns) / NANO)
        if ticket.first_token_ns is not None:
            self._ttft.observe((ticket.first_token_ns - ticket.arrived_ns) / NANO)
        if state is State.FINISHED and ticket.ended_ns is not None:
            seconds = (ticket.ended_ns - ticket.arrived_ns) / NANO
            self._e2e.observe(seconds)
            self._latency_ms.add(seconds * 1000)

    def on_unparked(self, seconds: float) -> None:
        """Count a preemption that is over."""
        self._parked.observe(seconds)

    def on_violation(self, what: str) -> None:
        """Count a bug that was noticed."""
        self._violations.inc()

    def quantile_ms(self, q: float) -> float:
        """End-to-end latency of finished requests in milliseconds; 0 before the first."""
        value = self._latency_ms.get_quantile_value(q)
        return round(value, 3) if value is not None else 0.0

    def summary(self, queue_depth: int, running: int) -> Summary:
        """The answer to ``GET /metrics``."""
        return {
            "queue_depth": queue_depth,
            "running": running,
            "p50_latency_ms": self.quantile_ms(0.5),
            "p99_latency_ms": self.quantile_ms(0.99),
            "event_loop_lag_max_ms": round(1000 * self.lag.worst_s, 3),
            "requests": {
                "finished": self._outcomes[State.FINISHED],
                "failed": self._outcomes[State.FAILED],
                "cancelled": self._outcomes[State.CANCELLED],
                "total": self._outcomes.total(),
            },
        }

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The scrape body and its content type: OpenMetrics or Prometheus text, as asked."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # the client wrote a version that is no number
            encode, content_type = choose_encoder("text/plain")
        return encode(self.registry), content_type


class _Counts(Collector):
    """A counter that somebody else keeps."""

    def __init__(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]
    ) -> None:
        self._name, self._text, self._label, self._read = name, text, label, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, number in self._read().items():
            family.add_metric([value], number)
        yield family


def wants_exposition(accept: str) -> bool:
    """Whether an Accept header asks for Prometheus text rather than the seed's JSON."""
    kinds = (part.split(";")[0].strip().lower() for part in accept.split(","))
    text = ("text/plain", "application/openmetrics-text")
    known = (kind for kind in kinds if kind in (*text, "application/json", "*/*"))
    return next(known, "*/*") in text
