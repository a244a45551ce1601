"""From outcomes to what a reader wants to know: percentiles, ratios, the lead of urgent work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

from .load import CLASSES, Outcome


def percentile(values: list[float], q: float) -> float:
    """The smallest value that ``q`` of all do not exceed; NaN if there is none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Summary:
    """One class in one run. Times in seconds."""

    arrived: int
    served: int
    refused: dict[str, int]
    """Number of refusals with a reason, by code."""
    lost: int
    """Neither served nor told: must be none."""
    ttft_p50: float
    ttft_p99: float


def summarise(outcomes: list[Outcome]) -> dict[str, Summary]:
    """Per class."""
    return {class_: _summary([o for o in outcomes if o.class_ == class_]) for class_ in CLASSES}


def _summary(outcomes: list[Outcome]) -> Summary:
    ttfts = [o.ttft_s for o in outcomes if o.served and o.ttft_s is not None]
    return Summary(
        arrived=len(outcomes),
        served=sum(o.served for o in outcomes),
        refused=dict(Counter(o.code for o in outcomes if o.code)),
        lost=sum(not o.told for o in outcomes),
        ttft_p50=percentile(ttfts, 0.5),
        ttft_p99=percentile(ttfts, 0.99),
    )


def steady(outcomes: list[Outcome], warm_s: float) -> list[Outcome]:
    """Return the arrivals since the queue had filled."""
    return [o for o in outcomes if o.arrived_s >= warm_s]


def lead(outcomes: list[Outcome], window_s: float) -> list[tuple[float, float]]:
    """Return how much longer normal jobs had waited than urgent ones that began in the same window.

    (middle of the window, median wait of normal minus that of urgent), in seconds. By the theory
    it settles at d / r once the backlog is longer than that.
    """
    began: dict[int, dict[str, list[float]]] = {}
    for o in outcomes:
        if o.served and o.ttft_s is not None:
            window = began.setdefault(int((o.arrived_s + o.ttft_s) / window_s), {})
            window.setdefault(o.class_, []).append(o.ttft_s)
    return [
        ((number + 0.5) * window_s, median(waits["normal"]) - median(waits["urgent"]))
        for number, waits in sorted(began.items())
        if "normal" in waits and "urgent" in waits
    ]
