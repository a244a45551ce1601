"""The past, as the page shows it: requests that ended, and a point of its charts each second.

Requests are remembered also without viewers, a few numbers each, so that a viewer that comes
finds some. Everything else begins with the first look. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.core.clock import NANO
from gateway.core.priority import class_of
from gateway.dispatch.outcome import Outcome, of_ticket

if TYPE_CHECKING:
    from gateway.dispatch.ticket import Ticket

REMEMBERED = 512
"""Requests of which quantiles are made, at most."""
WINDOW_S = 30
"""The time that quantiles look back on."""
POINTS = 120
"""Points of the charts that are kept, one a second."""


class Ended(NamedTuple):
    """A request that ended. Times are nanoseconds of the monotonic clock."""

    id: int
    name: str
    priority: float
    owner: str
    outcome: Outcome
    arrived_ns: int
    dispatched_ns: int | None
    first_ns: int | None
    ended_ns: int
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    rate: float | None
    """Tokens per second."""
    model: str = ""


def ended(ticket: Ticket) -> Ended:
    """The record of a ticket that just ended."""
    assert ticket.ended_ns is not None
    usage, job = ticket.usage, ticket.job
    return Ended(
        ticket.id,
        ticket.request_id,
        job.priority,
        job.owner,
        of_ticket(ticket),
        ticket.arrived_ns,
        ticket.dispatched_ns,
        ticket.first_token_ns,
        ticket.ended_ns,
        usage.prompt,
        usage.cached,
        usage.completion,
        ticket.tokens_per_second,
        job.model,
    )


def row(request: Ended, origin_ns: int) -> dict[str, Any]:
    """A line of the page's table. Times in seconds, since ``origin_ns`` or since the arrival."""
    arrived = request.arrived_ns

    def since_arrival(moment_ns: int | None) -> float | None:
        return None if moment_ns is None else round((moment_ns - arrived) / NANO, 4)

    return {
        "id": request.id,
        "name": request.name,
        "model": request.model,
        "class": class_of(request.priority),
        "priority": request.priority,
        "owner": request.owner,
        "outcome": request.outcome,
        "ended": round((request.ended_ns - origin_ns) / NANO, 3),
        "wait": since_arrival(request.dispatched_ns),
        "ttft": since_arrival(request.first_ns),
        "total": since_arrival(request.ended_ns),
        "prompt_tokens": request.prompt_tokens,
        "cached_tokens": request.cached_tokens,
        "tokens": request.tokens,
        "rate": None if request.rate is None else round(request.rate, 1),
    }


class Gaps(NamedTuple):
    """A histogram of the time between two tokens, since the start."""

    bounds: Sequence[float]
    """Upper bounds of the buckets but the last, in seconds."""
    counts: Sequence[int]
    """Of each bucket alone."""


class Recorder:
    """Makes points: what happened lately, in numbers."""

    def __init__(self) -> None:
        self.requests: deque[Ended] = deque(maxlen=REMEMBERED)
        self.points: deque[dict[str, Any]] = deque(maxlen=POINTS)
        self._gaps: deque[tuple[int, Gaps]] = deque()
        """Looks at the histogram, those of the window."""
        self._tokens: Mapping[int, int] = {}
        """Tokens by worker at the last point."""
        self._at_ns: int | None = None
        """Time of the last point."""

    def add(self, ticket: Ticket) -> None:
        """A ticket has just ended."""
        self.requests.append(ended(ticket))

    def due(self, now_ns: int) -> bool:
        """Return whether it is time for the next point."""
        return self._at_ns is None or now_ns - self._at_ns >= NANO

    def point(
        self, now_ns: int, origin_ns: int, tokens: Mapping[int, int], gaps: Gaps | None
    ) -> None:
        """Add a point. ``tokens``: what each worker has sampled since it started.

        Times in a point are milliseconds, None where nothing happened. After a pause, in which
        there was no viewer, the rate of tokens is not known.
        """
        lately = list(
            takewhile(lambda r: now_ns - r.ended_ns <= WINDOW_S * NANO, reversed(self.requests))
        )
        first = [r.first_ns - r.arrived_ns for r in lately if r.first_ns is not None]
        whole = [r.ended_ns - r.arrived_ns for r in lately if r.outcome == "finished"]
        values = {
            "ttft_p50": _ms(quantile(first, 0.5)),
            "ttft_p99": _ms(quantile(first, 0.99)),
            "total_p50": _ms(quantile(whole, 0.5)),
            "total_p99": _ms(quantile(whole, 0.99)),
            "itl_p50": None,
            "itl_p99": None,
            "rate": self._rate(now_ns, tokens),
        }
        if gaps is not None:
            values |= self._latency(now_ns, gaps)
        at = round((now_ns - origin_ns) / NANO, 3)
        self.points.append({"id": at, **values})
        self._at_ns, self._tokens = now_ns, tokens

    def _rate(self, now_ns: int, tokens: Mapping[int, int]) -> float | None:
        """Tokens per second since the last point. A worker that restarted counts from 0 again."""
        before = self._at_ns
        if before is None or now_ns - before > 5 * NANO:
            return None
        last = self._tokens
        new = sum(n - last[w] if n >= last.get(w, 0) else n for w, n in tokens.items() if w in last)
        return round(new * NANO / (now_ns - before), 1)

    def _latency(self, now_ns: int, gaps: Gaps) -> dict[str, float | None]:
        while self._gaps and now_ns - self._gaps[0][0] > WINDOW_S * NANO:
            self._gaps.popleft()
        before = self._gaps[0][1].counts if self._gaps else gaps.counts
        self._gaps.append((now_ns, gaps))
        counts = [new - old for new, old in zip(gaps.counts, before, strict=True)]
        p50, p99 = (bucketed(gaps.bounds, counts, q) for q in (0.5, 0.99))
        return {
            "itl_p50": None if p50 is None else round(1000 * p50, 2),
            "itl_p99": None if p99 is None else round(1000 * p99, 2),
        }


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 2)


def quantile(values: Iterable[float], q: float) -> float | None:
    """The nearest-rank quantile; None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


def bucketed(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """A quantile of a histogram, linear within its bucket as Prometheus has it.

    Above the last bound it is that bound; None if there is nothing in the histogram.
    """
    total = sum(counts)
    if not total:
        return None
    below, cumulated = 0, []
    for count in counts:
        below += count
        cumulated.append(below)
    at = bisect_left(cumulated, q * total)
    if at >= len(bounds):
        return bounds[-1]
    low = bounds[at - 1] if at else 0.0
    before = cumulated[at - 1] if at else 0
    return low + (bounds[at] - low) * (q * total - before) / counts[at]
