"""Counts of spans, where there are traces."""

from collections.abc import Callable, Iterator, Mapping

from gateway.telemetry.metrics.exposition import Family, series

NAME = "forge_trace_spans"


class SpanCounts:
    """Spans so far, read at each scrape."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        """``read`` returns the number by what became of them."""
        self._read = read

    def collect(self) -> Iterator[Family]:
        """Yield the family to scrape."""
        text = "Spans made, taken by the collector, and refused by it or not delivered"
        lines = [(series(f"{NAME}_total", {"fate": name}), n) for name, n in self._read().items()]
        yield Family(NAME, "counter", text, lines)
