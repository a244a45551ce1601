"""Arrivals, their urgency and their work: seeded, so that a trace is the same every time.

Loads are fractions of what the slots can serve: at 1 the queue neither grows nor shrinks.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.core.clock import NANO

BATCH, NORMAL, URGENT = 0.0, 1.0, 2.0
CLASSES = {BATCH: "batch", NORMAL: "normal", URGENT: "urgent"}

MIX = {BATCH: 0.2, NORMAL: 0.6, URGENT: 0.2}
"""Shares of the load where nothing else is said."""
SLOTS = 4
"""The study project's default: four workers, one job each."""
MEAN_S = 1.0
"""Mean time a job holds its slot. Waits scale with it, but the lead d/r doesn't."""
SIGMA = 0.8
"""Of the lognormal service times: most answers are short, some are long."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job of a trace."""

    at_ns: int
    priority: float
    service_ns: int
    """Time for which it needs a slot, in total."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in the order of time, and the slots that serve them."""

    name: str
    about: str
    slots: int
    arrivals: tuple[Arrival, ...]


def poisson(seconds: int, load: float = 0.9, seed: int = 1) -> Trace:
    """Independent arrivals at a constant rate, below what the slots can serve."""
    about = f"independent arrivals at {percent(load)} of capacity, {seconds} s"
    return _random("Poisson", about, seconds, seed, {c: load * s for c, s in MIX.items()})


def bursty(seconds: int, seed: int = 2) -> Trace:
    """Ten seconds at three times the capacity in each minute, then time to recover."""
    high, low, length, period = 3.0, 0.4, 10, 60

    def shape(at: float) -> float:
        return 1.0 if at % period < length else low / high

    burst, rest = percent(high), percent(low)
    about = f"{length} s at {burst} of capacity in each minute, else {rest}, {seconds} s"
    return _random("bursty", about, seconds, seed, {c: high * s for c, s in MIX.items()}, shape)


def endless_urgent(seconds: int, seed: int = 3) -> Trace:
    """Urgent work alone is more than the slots can serve, and it does not stop."""
    loads = {BATCH: 0.02, NORMAL: 0.06, URGENT: 1.05}
    parts = (f"{CLASSES[each]} at {percent(load)}" for each, load in sorted(loads.items()))
    about = f"{', '.join(parts)} of capacity, {seconds} s"
    return _random("endless urgent", about, seconds, seed, loads)


def twenty_urgent(gap_s: float = 0.9) -> Trace:
    """The study project's question: "20 urgent requests and 1 normal", one slot, a second each.

    The normal job and the first urgent one come together, the others ``gap_s`` apart: sooner than
    the slot can serve them, so that there is always an urgent job waiting.
    """
    urgent = (Arrival(round(i * gap_s * NANO), URGENT, NANO) for i in range(20))
    about = f"1 normal and 20 urgent, one every {gap_s} s, 1 slot, 1 s each"
    return Trace("20 urgent, 1 normal", about, 1, (Arrival(0, NORMAL, NANO), *urgent))


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _random(
    name: str,
    about: str,
    seconds: int,
    seed: int,
    loads: dict[float, float],
    shape: Callable[[float], float] = lambda at: 1.0,
) -> Trace:
    """A Poisson process for each class; ``shape`` thins it out to a rate that changes."""
    rng = random.Random(seed)
    arrivals = [
        Arrival(round(at * NANO), priority, max(1, round(_service(rng) * NANO)))
        for priority, load in loads.items()
        for at in _process(rng, load * SLOTS / MEAN_S, seconds)
        if rng.random() < shape(at)
    ]
    return Trace(name, about, SLOTS, tuple(sorted(arrivals, key=lambda a: a.at_ns)))


def _process(rng: random.Random, rate: float, seconds: int) -> Iterator[float]:
    """The instants of a Poisson process of ``rate`` per second."""
    at = rng.expovariate(rate)
    while at < seconds:
        yield at
        at += rng.expovariate(rate)


def _service(rng: random.Random) -> float:
    """Seconds; exp(mu + sigma^2 / 2) is a lognormal's mean."""
    return MEAN_S * rng.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)
