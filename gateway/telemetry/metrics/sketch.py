"""Quantiles of latencies within a relative error, in bounded memory: a DDSketch of positive values.

Bin ``k`` counts the values in (g^(k-1), g^k], where g = (1 + e) / (1 - e); its middle,
2 g^k / (1 + g), is within the error e of each of them. At 1 %, g is 1.0202: values of 1 ms to 60 s
fall into 551 bins, and 250 ms is reported as a value from 247.5 to 252.5 ms. Where more bins than
allowed are used, the lowest two become one: p99 stays within e, p1 may not. Pure.

Masson, Rim, Lee: DDSketch, http://www.vldb.org/pvldb/vol12/p2195-masson.pdf
"""

from math import ceil, log


class Sketch:
    """Counts of values in bins of equal relative width."""

    def __init__(self, error: float, max_bins: int) -> None:
        """Answer within ``error`` (0.01 is 1 %) from at most ``max_bins`` bins."""
        self._gamma = (1 + error) / (1 - error)
        self._log_gamma = log(self._gamma)
        self._max_bins = max_bins
        self._bins: dict[int, int] = {}
        self._count = 0

    def add(self, value: float) -> None:
        """Count a value; a value of 0 or less counts as the smallest that clocks tell apart."""
        key = ceil(log(max(value, 1e-9)) / self._log_gamma)
        self._bins[key] = self._bins.get(key, 0) + 1
        self._count += 1
        if len(self._bins) > self._max_bins:
            lowest, next_lowest = sorted(self._bins)[:2]
            self._bins[next_lowest] += self._bins.pop(lowest)

    def quantile(self, q: float) -> float | None:
        """Return the value at rank ``q * (count - 1)``, 0 <= q <= 1; None before the first."""
        rank = q * (self._count - 1)
        below = 0
        for key in sorted(self._bins):
            below += self._bins[key]
            if below > rank:
                return float(2 * self._gamma**key / (1 + self._gamma))
        return None
