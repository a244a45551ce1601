"""Metrics of batches: their lines by state, read at each scrape."""

from collections.abc import Callable, Iterator, Mapping

from gateway.telemetry.metrics.exposition import Family, series

WAITING, RUNNING, RETRIED = "waiting", "running", "retried"
ENDS = ("completed", "failed", "expired", "cancelled")


class BatchLines:
    """Lines that wait, run, and have ended.

    Implements :class:`gateway.telemetry.metrics.registry.Collector`.
    """

    def __init__(self, look: Callable[[], Mapping[str, int]]) -> None:
        """``look`` gives the numbers by their names."""
        self._look = look

    def collect(self) -> Iterator[Family]:
        """Yield the gauges and the counters."""
        counts = self._look()
        name, text = "forge_batch_lines", "Lines of batches that have not ended, by state"
        states = (
            (series(name, {"state": each}), float(counts[each])) for each in (WAITING, RUNNING)
        )
        yield Family(name, "gauge", text, [*states])
        name = "forge_batch_lines_ended"
        text = "Lines of batches by what became of them; of expired and cancelled ones nothing"
        ends = [(series(f"{name}_total", {"end": each}), float(counts[each])) for each in ENDS]
        yield Family(name, "counter", text, ends)
        name, text = "forge_batch_line_retries", "Tries of lines that were not their last"
        yield Family(name, "counter", text, [(f"{name}_total", float(counts[RETRIED]))])
