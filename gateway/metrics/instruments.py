"""Counters and histograms that cost next to nothing to write: some are written for every token.

prometheus_client's own take a lock for each change, a histogram two of them, and look at one bucket
after the other. Here only the event loop writes, so there is nothing to lock; the library writes
what is scraped. Each has all its series from the start: their number never changes. Pure.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, product

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.aging import NANO

Labels = Mapping[str, Iterable[str]]
"""By name, the values that each label may have."""


class Counter(Collector):
    """A number for each combination of its labels' values."""

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        self._name, self._text, self._labels = name, text, tuple(labels)
        self._counts = dict.fromkeys(product(*labels.values()), 0)

    def add(self, values: tuple[str, ...], by: int = 1) -> None:
        """Count for these values of the labels, in their order. Raises KeyError."""
        self._counts[values] += by

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What is scraped."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count)
        yield family


class Buckets:
    """How many values were at most each bound, and above the last; and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone, without those below it."""
        self.sum = 0

    def observe(self, value: int) -> None:
        """Count a value, in the unit of the bounds."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histogram(Collector):
    """Buckets for each combination of its labels' values."""

    def __init__(
        self, name: str, text: str, bounds: tuple[float, ...], labels: Labels, *, scale: int = 1
    ) -> None:
        """What is observed is ``scale`` times what bounds and scrapes say: NANO for seconds."""
        self._name, self._text, self._scale, self._labels = name, text, scale, tuple(labels)
        self._bounds = [*map(floatToGoString, bounds), "+Inf"]
        fine = tuple(round(bound * scale) for bound in bounds)
        self._children = {values: Buckets(fine) for values in product(*labels.values())}

    def of(self, *values: str) -> Buckets:
        """The buckets for these values of the labels, in their order. Raises KeyError."""
        return self._children[values]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What is scraped."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for values, child in self._children.items():
            pairs = list(zip(self._bounds, accumulate(child.counts), strict=True))
            family.add_metric(values, pairs, child.sum / self._scale)
        yield family


class Meter:
    """What is counted for each token of one class. One call, and no look-up."""

    __slots__ = ("_gaps", "tokens")

    def __init__(self, gaps: Buckets) -> None:
        self._gaps = gaps
        self.tokens = 0
        """How many were sampled."""

    def __call__(self, tokens: int, gap_ns: int | None) -> None:
        """A sequence got ``tokens``, so long after those before; None: they are its first."""
        self.tokens += tokens
        if gap_ns is not None:
            self._gaps.observe(gap_ns)


def nanoseconds(seconds: float) -> int:
    """For a histogram of seconds."""
    return round(seconds * NANO)
