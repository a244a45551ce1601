"""Metrics of captures: those that were kept and dropped, read at each scrape."""

from collections.abc import Callable, Iterator, Mapping

from gateway.telemetry.metrics.exposition import Family, series

FATES = ("kept", "dropped")


class CaptureFates:
    """Captures by what became of them.

    Implements :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(self, look: Callable[[], Mapping[str, int]]) -> None:
        """``look`` gives the numbers by their names."""
        self._look = look

    def collect(self) -> Iterator[Family]:
        """Yield the counter."""
        counts, name = self._look(), "forge_captures"
        text = "Requests to be captured, by what became of that"
        lines = [(series(f"{name}_total", {"fate": each}), float(counts[each])) for each in FATES]
        yield Family(name, "counter", text, lines)
