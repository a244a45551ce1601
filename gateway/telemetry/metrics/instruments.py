"""Counters and histograms that cost next to nothing to write: some are written for every token.

prometheus_client's own take a lock for each change, a histogram two of them, and look at one bucket
after the other. Here only the event loop writes, so there is nothing to lock. Each has all its
series from the start: their number changes only when an operator adds a model. Pure.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate, chain

from gateway.core.clock import NANO
from gateway.core.trace import Trace
from gateway.telemetry.metrics.exposition import Exemplar, Family, Labels, combinations, series


class Counter:
    """A number for each combination of its labels' values."""

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        self._name, self._text = name, text
        self._labels = labels
        self._lines: list[str] = []
        self._counts: dict[tuple[str, ...], int] = {}
        self._extend(labels)

    def _extend(self, labels: Labels) -> None:
        for each in combinations(labels):
            if tuple(each.values()) not in self._counts:
                self._lines.append(series(f"{self._name}_total", each))
                self._counts[tuple(each.values())] = 0

    def grow(self, label: str, value: str) -> None:
        """Have the series of one more value of a label, if there is this label."""
        if label in self._labels:
            self._extend({**self._labels, label: [value]})

    def add(self, values: tuple[str, ...], by: int = 1) -> None:
        """Count for these values of the labels, in their order. Raises KeyError."""
        self._counts[values] += by

    def collect(self) -> Iterator[Family]:
        """Yield the family to scrape."""
        samples = zip(self._lines, self._counts.values(), strict=True)
        yield Family(self._name, "counter", self._text, samples)


class Gauge:
    """A number that is read at each scrape."""

    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterator[Family]:
        """Yield the family to scrape."""
        yield Family(self._name, "gauge", self._text, [(self._name, self._read())])


class Buckets:
    """Counts of values per bucket (at most each bound, and above the last), and their sum."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Values in each bucket alone, without those below it."""
        self.sum = 0
        self.exemplars: dict[int, Exemplar] = {}
        """The last traced value of each bucket that has had one."""

    def observe(self, value: int) -> None:
        """Count a value, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def keep(self, value: int, trace: Trace, at_s: float) -> None:
        """Keep a value that was observed as its bucket's example; ``at_s`` in Unix seconds."""
        bucket = bisect_left(self.bounds, value)
        self.exemplars[bucket] = Exemplar(trace.trace_id, trace.work_span, value, at_s)


class Histogram:
    """Buckets for each combination of its labels' values."""

    def __init__(
        self, name: str, text: str, bounds: tuple[float, ...], labels: Labels, *, scale: int = 1
    ) -> None:
        """Observed values are ``scale`` times those of bounds and scrapes: NANO for seconds."""
        self._name, self._text, self._scale = name, text, scale
        self._fine = tuple(round(bound * scale) for bound in bounds)
        self._ends = [*(str(float(bound)) for bound in bounds), "+Inf"]
        self._labels = labels
        self._children: dict[tuple[str, ...], Buckets] = {}
        self._lines: list[str] = []
        self._extend(labels)

    def _extend(self, labels: Labels) -> None:
        for each in combinations(labels):
            if tuple(each.values()) not in self._children:
                self._children[tuple(each.values())] = Buckets(self._fine)
                self._lines += _lines(self._name, each, self._ends)

    def grow(self, label: str, value: str) -> None:
        """Have the series of one more value of a label, if there is this label."""
        if label in self._labels:
            self._extend({**self._labels, label: [value]})

    def of(self, *values: str) -> Buckets:
        """Return the buckets for these values of the labels, in their order. Raises KeyError."""
        return self._children[values]

    def collect(self) -> Iterator[Family]:
        """Yield the family to scrape."""
        values = chain.from_iterable(
            (*accumulate(child.counts), sum(child.counts), child.sum / self._scale)
            for child in self._children.values()
        )
        samples = zip(self._lines, values, strict=True)
        yield Family(self._name, "histogram", self._text, samples, dict(self._exemplars()))

    def _exemplars(self) -> Iterator[tuple[str, Exemplar]]:
        """Yield the exemplars of all children by the lines of their buckets."""
        for place, child in enumerate(self._children.values()):
            first = place * (len(child.counts) + len(("count", "sum")))
            for bucket, each in child.exemplars.items():
                yield self._lines[first + bucket], each._replace(value=each.value / self._scale)


def _lines(name: str, labels: dict[str, str], ends: list[str]) -> Iterator[str]:
    """Yield the lines of one child: its buckets, their count and their sum."""
    for end in ends:
        yield series(f"{name}_bucket", {**labels, "le": end})
    yield series(f"{name}_count", labels)
    yield series(f"{name}_sum", labels)


class TracedMeter:
    """Counts as another meter does, and keeps examples: of a request whose spans are kept."""

    __slots__ = ("_count", "_gaps", "_now_s", "_trace")

    def __init__(
        self, count: "TokenMeter", gaps: Buckets, trace: Trace, now_s: Callable[[], float]
    ) -> None:
        """``now_s``: Unix seconds."""
        self._count = count
        self._gaps = gaps
        self._trace = trace
        self._now_s = now_s

    def __call__(self, tokens: int, gap_ns: int | None) -> None:
        self._count(tokens, gap_ns)
        if gap_ns is not None:
            self._gaps.keep(gap_ns, self._trace, self._now_s())


class TokenMeter:
    """The counts of one class, written for each token: one call, and no lookup."""

    __slots__ = ("_gaps", "tokens")

    def __init__(self, gaps: Buckets) -> None:
        self._gaps = gaps
        self.tokens = 0
        """Tokens sampled so far."""

    def __call__(self, tokens: int, gap_ns: int | None) -> None:
        """Count ``tokens`` of a sequence, ``gap_ns`` after its last ones; None: its first."""
        self.tokens += tokens
        if gap_ns is not None:
            gaps = self._gaps  # as observe(), without the call
            gaps.counts[bisect_left(gaps.bounds, gap_ns)] += 1
            gaps.sum += gap_ns


def nanoseconds(seconds: float) -> int:
    """Return ``seconds`` as a histogram of seconds takes them."""
    return round(seconds * NANO)
