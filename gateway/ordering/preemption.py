"""Preemption: when a running job yields to a more urgent one. Pure: the clock is an argument.

Age decides which job gets a free slot, but it is no reason to take a slot away: an older batch job
would then never yield. Only a strictly higher base priority preempts, after the running job had its
quantum; and a job that was parked for d/r seconds in total is immune, because after d/r seconds of
waiting it would have been served before the other anyway.

Nothing of this protects a spare job, which runs in a slot that nothing else wanted: it yields at
once, to any job that is not spare.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gateway.core.clock import NANO


class Running(Protocol):
    """The state of a job that holds a slot."""

    @property
    def priority(self) -> float: ...
    @property
    def arrived_ns(self) -> int: ...
    @property
    def slot_since_ns(self) -> int:
        """The time when it got the slot it holds now."""
        ...

    @property
    def parked_ns(self) -> int:
        """Return the time that it was parked so far, in ns."""
        ...


R = TypeVar("R", bound=Running)


@dataclass(frozen=True, slots=True)
class PreemptionRules:
    """The operator's choice."""

    quantum_s: float
    """The least time a job keeps the slot it was given."""
    aging_rate: float

    def immune(self, job: Running, urgent: float) -> bool:
        """Tell if ``job`` was parked for so long that priority ``urgent`` can't park it again."""
        bound_ns = self._bound_ns(job, urgent)
        return bound_ns is not None and job.parked_ns >= bound_ns

    def overdue_ns(self, job: Running, urgent: float, now_ns: int) -> int | None:
        """From when a job that priority ``urgent`` parks now goes before all others; None: never.

        Immunity alone would not bound one long pause; this does, up to the next slot that frees.
        """
        bound_ns = self._bound_ns(job, urgent)
        return None if bound_ns is None else now_ns + max(0, bound_ns - job.parked_ns)

    def _bound_ns(self, job: Running, urgent: float) -> int | None:
        """d/r: for how long priority ``urgent`` may keep a job parked, in total; None: for ever."""
        lead = urgent - job.priority
        return math.ceil(lead / self.aging_rate * NANO) if self.aging_rate else None

    def victim(self, running: Iterable[R], urgent: float, now_ns: int) -> tuple[R | None, int]:
        """Choose the job that yields to one of base priority ``urgent``: the lowest, then youngest.

        Returns (job, 0), or (None, ns until one may be asked; 0 if none ever may).
        """
        candidates = [j for j in running if j.priority < urgent and not self.immune(j, urgent)]
        if not candidates:
            return None, 0
        quantum = round(self.quantum_s * NANO)
        due = [job for job in candidates if now_ns - job.slot_since_ns >= quantum]
        if not due:
            return None, min(job.slot_since_ns for job in candidates) + quantum - now_ns
        return min(due, key=lambda job: (job.priority, -job.arrived_ns)), 0


def spare_victims(spare: Iterable[R], count: int) -> list[R]:
    """Choose ``count`` of the spare jobs that run: the lowest yield first, of these the youngest.

    All of them if there are no more.
    """
    return heapq.nsmallest(count, spare, key=lambda job: (job.priority, -job.arrived_ns))
