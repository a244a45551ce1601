"""Figures of an outcome: waits by class, starvation, fairness, overtaking. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scheduler.pool import Served
from bench.scheduler.simulator import Outcome
from gateway.core.clock import NANO

STARVED_S = 120.0
"""A job that was without a slot for longer has starved: under FIFO nobody waits 70 s here."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Of one class; seconds without a slot, from arrival to end."""

    p50: float
    p99: float
    worst: float
    slowdown: float
    """Mean time in the system over mean service: 1 is a machine of one's own."""


@dataclass(frozen=True, slots=True)
class Summary:
    waits: dict[float, Waits]
    """By priority."""
    starved: int
    fairness: float
    """Jain's index of the classes' slowdowns."""
    parks: int


def percentile(values: Sequence[float], q: float) -> float:
    """The nearest rank: the smallest value that at least a share ``q`` does not exceed."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index (Jain, Chiu, Hawe 1984): (sum x)^2 / (n * sum x^2).

    1 when all are equal, 1/n when one has everything.
    """
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def summarise(outcome: Outcome) -> Summary:
    classes = {
        priority: [job for job in outcome.jobs if job.arrival.priority == priority]
        for priority in sorted({job.arrival.priority for job in outcome.jobs})
    }
    waits = {priority: _waits(jobs) for priority, jobs in classes.items()}
    return Summary(
        waits=waits,
        starved=sum(job.wait_s > STARVED_S for job in outcome.jobs),
        fairness=jain([each.slowdown for each in waits.values()]),
        parks=sum(job.parks for job in outcome.jobs),
    )


def _waits(jobs: Sequence[Served]) -> Waits:
    seconds = [job.wait_s for job in jobs]
    service = sum(job.arrival.service_ns for job in jobs) / NANO
    return Waits(
        p50=percentile(seconds, 0.5),
        p99=percentile(seconds, 0.99),
        worst=max(seconds),
        slowdown=(sum(seconds) + service) / service,
    )


def leads(outcome: Outcome, low: float, high: float) -> list[tuple[float, float]]:
    """For each job of priority ``low``: (its arrival, its overtakers' lead), both in seconds.

    The lead: how long after it the last of those jobs of priority ``high`` arrived that were
    started before it; 0 if none was. Theory: less than (high - low) / r. With ``low == high`` it
    shows whether a class is served in the order of arrival.
    """
    latest = 0
    found: list[tuple[float, float]] = []
    for number in outcome.order():
        arrival = outcome.trace.arrivals[number]
        if arrival.priority == low:
            lead = max(0, latest - arrival.at_ns)
            found.append((arrival.at_ns / NANO, lead / NANO))
        if arrival.priority == high:
            latest = max(latest, arrival.at_ns)
    return sorted(found)


def largest_lead(outcome: Outcome, low: float, high: float) -> float:
    """Seconds; see :func:`leads`."""
    return max(lead for _, lead in leads(outcome, low, high))


def overtaken_in_class(outcome: Outcome) -> int:
    """Jobs that a later job of their own priority went before."""
    classes = {arrival.priority for arrival in outcome.trace.arrivals}
    return sum(lead > 0 for each in classes for _, lead in leads(outcome, each, each))
