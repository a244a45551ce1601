"""What happened so far, in constant memory however many requests came.

Quantiles come from a DDSketch (1 % relative error, bounded bins); what Prometheus scrapes from
counters and histograms of our own, and from the queue and the pool as they stand at that moment.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from ddsketch.ddsketch import LogCollapsingLowestDenseDDSketch
from prometheus_client.exposition import choose_encoder
from typing_extensions import TypedDict

from gateway import outcome
from gateway.aging import NANO
from gateway.errors import ForgeError, codes
from gateway.lag import LoopLag
from gateway.metrics.exposition import Family, Labels, render, series
from gateway.metrics.instruments import Counter, Gauge, Histogram, Meter, nanoseconds
from gateway.metrics.state import Process
from gateway.priority import CLASSES, class_of
from gateway.sequence import State
from gateway.ticket import Job, Ticket

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
LAGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2.5)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)
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


class Collector(Protocol):
    """Something that is scraped."""

    def collect(self) -> Iterable[Family]:
        """How it stands now."""
        ...


C = TypeVar("C", bound=Collector)


class Metrics:
    """Counts tickets as they end. Implements :class:`gateway.observer.Observer`."""

    def __init__(self, model: str) -> None:
        """``model``: the name that clients know it by."""
        self._model = model
        self._collectors: list[Collector] = []
        self._latency_ms = LogCollapsingLowestDenseDDSketch(0.01, _MAX_BINS)
        self._outcomes: Tally[State] = Tally()
        of_model: Labels = {"model": [model]}
        by_class: Labels = {"class": CLASSES, **of_model}
        self._requests = self._counter(
            "requests", "Requests by how they ended", {**by_class, "outcome": outcome.OUTCOMES}
        )
        self._errors = self._counter(
            "error_responses", "Errors answered, by code", {"code": codes()}
        )
        self._prompt = self._counter(
            "prompt_tokens", "Prompt tokens of requests that ended", of_model
        )
        self._queried = self._counter(
            "prefix_cache_queried_tokens", "Prompt tokens that might have been cached", of_model
        )
        self._hit = self._counter(
            "prefix_cache_hit_tokens",
            "Prompt tokens whose KV cells were already computed",
            of_model,
        )
        self._violations = self._counter("invariant_violations", "Bugs noticed by self-checks", {})
        self._queue = self._seconds(
            "queue_wait", "Time from arrival to a worker", SECONDS, by_class
        )
        self._ttft = self._seconds(
            "time_to_first_token", "Time from arrival to the first token", SECONDS, by_class
        )
        self._e2e = self._seconds(
            "e2e_request_latency",
            "Time from arrival to the end, of finished requests",
            SECONDS,
            by_class,
        )
        gaps = self._seconds(
            "inter_token_latency", "Time between two tokens of a sequence", GAPS, by_class
        )
        self._prompt_sizes = self._histogram(
            "request_prompt_tokens", "Prompt tokens of finished requests", TOKENS, by_class
        )
        self._answer_sizes = self._histogram(
            "request_generation_tokens", "Tokens sampled for finished requests", TOKENS, by_class
        )
        parked = self._seconds(
            "request_parked_time", "Time for which a sequence was parked", SECONDS, {}
        )
        self._parked = parked.of()
        lag = self._seconds("event_loop_lag", "How late timers of the event loop come", LAGS, {})
        looks = lag.of()
        self.lag = LoopLag(time.monotonic, lambda late_s: looks.observe(nanoseconds(late_s)))
        self.watch(
            "event_loop_lag_max_seconds",
            "The longest lag of the last minute",
            lambda: self.lag.worst_s,
        )
        self._meters = {kind: Meter(gaps.of(kind, model)) for kind in CLASSES}
        self.add(
            _Generated(series("forge_generation_tokens_total", {"model": model}), self.generated)
        )
        self.add(Process())

    def _counter(self, name: str, text: str, labels: Labels) -> Counter:
        return self.add(Counter(f"forge_{name}", text, labels))

    def _histogram(
        self, name: str, text: str, bounds: tuple[float, ...], labels: Labels, scale: int = 1
    ) -> Histogram:
        return self.add(Histogram(f"forge_{name}", text, bounds, labels, scale=scale))

    def _seconds(
        self, name: str, text: str, bounds: tuple[float, ...], labels: Labels
    ) -> Histogram:
        """It is told nanoseconds."""
        return self._histogram(f"{name}_seconds", text, bounds, labels, NANO)

    def add(self, collector: C) -> C:
        """Have it scraped, too."""
        self._collectors.append(collector)
        return collector

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        self.add(Gauge(f"forge_{name}", text, read))

    # ------------------------------------------------------------------ what happens

    def meter(self, job: Job) -> Meter:
        """Who is to be told of a job's tokens."""
        return self._meters[class_of(job.priority)]

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """Count a request that was not let in."""
        ending = outcome.of_error(error, started=False)
        self._requests.add((class_of(job.priority), self._model, ending))

    def on_end(self, ticket: Ticket) -> None:
        """Count a ticket that just ended."""
        self._outcomes[ticket.state] += 1
        kind = class_of(ticket.job.priority), self._model
        ending = outcome.of_ticket(ticket)
        self._requests.add((*kind, ending))
        usage, model = ticket.usage, (self._model,)
        self._prompt.add(model, usage.prompt)
        if ticket.job.cache_prompt and ticket.job.embedding is None:
            self._queried.add(model, usage.prompt)
            self._hit.add(model, usage.cached)
        arrived = ticket.arrived_ns
        if ticket.dispatched_ns is not None:
            self._queue.of(*kind).observe(ticket.dispatched_ns - arrived)
        if ticket.first_token_ns is not None:
            self._ttft.of(*kind).observe(ticket.first_token_ns - arrived)
        if ending == "finished" and ticket.ended_ns is not None:
            took = ticket.ended_ns - arrived
            self._e2e.of(*kind).observe(took)
            self._latency_ms.add(took / 1e6)
            self._prompt_sizes.of(*kind).observe(usage.prompt)
            self._answer_sizes.of(*kind).observe(usage.completion)

    def on_error(self, error: ForgeError) -> None:
        """Count an answer that is an error, be it to a request or to what never became one."""
        self._errors.add((error.code,))

    def on_unparked(self, seconds: float) -> None:
        """Count a pause that is over."""
        self._parked.observe(nanoseconds(seconds))

    def on_violation(self, what: str) -> None:
        """Count a bug that was noticed."""
        self._violations.add(())

    # ------------------------------------------------------------------ what is told of it

    def generated(self) -> int:
        """Tokens sampled so far, those of running requests too."""
        return sum(meter.tokens for meter in self._meters.values())

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
            content_type = choose_encoder(accept)[1]
        except (TypeError, ValueError):  # the client wrote a version that is no number
            content_type = choose_encoder("text/plain")[1]
        families = (family for collector in self._collectors for family in collector.collect())
        openmetrics = content_type.startswith("application/openmetrics-text")
        return render(families, openmetrics=openmetrics), content_type


class _Generated:
    """Tokens sampled, which the meters count."""

    def __init__(self, line: str, read: Callable[[], int]) -> None:
        self._line, self._read = line, read

    def collect(self) -> Iterator[Family]:
        text = "Tokens sampled, by requests that run too"
        yield Family("forge_generation_tokens", "counter", text, [(self._line, self._read())])


def wants_exposition(accept: str) -> bool:
    """Whether an Accept header asks for Prometheus text rather than the seed's JSON."""
    kinds = (part.split(";")[0].strip().lower() for part in accept.split(","))
    text = ("text/plain", "application/openmetrics-text")
    known = (kind for kind in kinds if kind in (*text, "application/json", "*/*"))
    return next(known, "*/*") in text
