"""The registry of metrics: instruments are made here, and read here."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol, TypeVar

from gateway.core.clock import NANO
from gateway.telemetry.metrics.exposition import Family, Labels, render, without
from gateway.telemetry.metrics.instruments import Counter, Gauge, Histogram


class Collector(Protocol):
    """A source of metrics."""

    def collect(self) -> Iterable[Family]:
        """Yield its families as of now."""
        ...


C = TypeVar("C", bound=Collector)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Registry:
    """All metrics, in the order in which they were added. Names get the prefix here."""

    def __init__(self) -> None:
        self._collectors: list[Collector] = []

    def add(self, collector: C) -> C:
        """Add a collector, and return it."""
        self._collectors.append(collector)
        return collector

    def grow(self, label: str, value: str) -> None:
        """Have the series of one more value of a label in all instruments that have the label."""
        for each in self._collectors:
            if isinstance(each, Counter | Histogram):
                each.grow(label, value)

    def counter(self, name: str, text: str, labels: Labels) -> Counter:
        """Add a counter; its name is without _total."""
        return self.add(Counter(f"forge_{name}", text, labels))

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read at each scrape."""
        self.add(Gauge(f"forge_{name}", text, read))

    def histogram(
        self, name: str, text: str, bounds: tuple[float, ...], labels: Labels
    ) -> Histogram:
        """Add a histogram of whole numbers."""
        return self.add(Histogram(f"forge_{name}", text, bounds, labels))

    def seconds(self, name: str, text: str, bounds: tuple[float, ...], labels: Labels) -> Histogram:
        """Add a histogram that observes nanoseconds; its name is without _seconds."""
        return self.add(Histogram(f"forge_{name}_seconds", text, bounds, labels, scale=NANO))

    def exposition(self, accept: str, hidden: Collection[str] = ()) -> tuple[bytes, str]:
        """Return the scrape body and its content type: OpenMetrics or Prometheus text, as asked.

        ``hidden``: models whose series are left out.
        """
        families: Iterator[Family] = (
            family for collector in self._collectors for family in collector.collect()
        )
        if hidden:
            families = without(families, hidden)
        openmetrics = _wants_openmetrics(accept)
        return render(families, openmetrics=openmetrics), OPENMETRICS if openmetrics else TEXT


def _wants_openmetrics(accept: str) -> bool:
    """Tell if an Accept header names OpenMetrics, in version 1 or without a version."""
    for part in accept.split(","):
        kind, *parameters = (item.strip().lower() for item in part.split(";"))
        if kind == "application/openmetrics-text":
            versions = [each for each in parameters if each.startswith("version=")]
            if not versions or versions[0].startswith("version=1."):
                return True
    return False


def wants_exposition(accept: str, *, usual: bool = False) -> bool:
    """Tell if an Accept header asks for Prometheus text rather than the study project's JSON.

    ``usual``: one that takes either, or none of them, asks for the text.
    """
    kinds = (part.split(";")[0].strip().lower() for part in accept.split(","))
    text = ("text/plain", "application/openmetrics-text")
    known = (kind for kind in kinds if kind in (*text, "application/json", "*/*"))
    found = next(known, "*/*")
    return usual if found == "*/*" else found in text
