"""The aging heap: the largest effective priority is served first, and no job starves.

A waiting job of priority ``p`` that arrived at ``t`` has the effective priority
``p + r * (now - t)``. All waiting jobs age at the same rate ``r``, so which of two comes first
does not depend on ``now``::

    p_a + r * (now - t_a) > p_b + r * (now - t_b)   <=>   r * t_a - p_a < r * t_b - p_b

The right side is a key that is fixed at arrival: push once, O(log n), no aging thread, no
re-heapify, exact at every instant. With ``r = 0`` the same key is the pure priority. Ties go to
the earlier arrival.

The bound that follows: a later job with ``d`` more priority overtakes an earlier one only if it
arrives less than ``d / r`` seconds after it.

Keys are integers, not floats: the rate is a fraction, the clock counts nanoseconds and priorities
are resolved to 1e-9, so that two jobs compare exactly as the formula says, however long the
process runs. Pure: the clock is an argument.
"""

import heapq
from fractions import Fraction
from functools import lru_cache
from typing import Generic, TypeVar

from gateway.core.clock import NANO

T = TypeVar("T")

_SLOWEST = 1e-9
"""Aging slower than this counts as none: it takes 30 years to gain one of priority."""
_SWEEP_AT = 64
"""Below this many dead entries a sweep is not worth its O(n)."""


@lru_cache(maxsize=1024)
def _scaled(priority: float) -> int:
    """A priority in units of 1e-9. Remembered: there are few, and exact arithmetic is slow."""
    return round(Fraction(priority) * NANO)


class QueueEntry(Generic[T]):
    """One place in the queue. The key belongs to the job, so it survives a requeue."""

    __slots__ = ("arrived_ns", "cancelled", "inside", "item", "key", "order", "priority", "queued")

    def __init__(self, item: T, priority: float, arrived_ns: int, key: int, order: int) -> None:
        self.item = item
        self.priority = priority
        self.arrived_ns = arrived_ns
        self.key = key
        self.order = order
        self.queued = False
        self.cancelled = False
        self.inside = False
        """Tell if the heap holds it physically, dead or alive."""

    def waited(self, now_ns: int) -> float:
        """Seconds since arrival."""
        return (now_ns - self.arrived_ns) / NANO


class AgingHeap(Generic[T]):
    """A priority queue whose entries gain ``rate`` priority per second of waiting."""

    def __init__(self, rate: float) -> None:
        """``rate`` >= 0 in priority per second, read as the decimal it prints as (0.2 is 1/5)."""
        self.rate = rate
        exact = Fraction(repr(rate))
        if exact < 0:
            raise ValueError("the aging rate must not be negative")
        self._numerator, self._denominator = exact.numerator, exact.denominator
        self._heap: list[tuple[int, int, QueueEntry[T]]] = []
        self._alive = 0
        self._arrivals = 0

    def __len__(self) -> int:
        return self._alive

    def key(self, priority: float, arrived_ns: int) -> int:
        """The static key ``r * t - p`` in units of 1e-9 / denominator(r); smaller is sooner."""
        return self._numerator * arrived_ns - self._denominator * _scaled(priority)

    def push(self, item: T, priority: float, arrived_ns: int) -> QueueEntry[T]:
        """Queue ``item``; O(log n). Raises ValueError or OverflowError if priority isn't finite."""
        entry = QueueEntry(
            item, priority, arrived_ns, self.key(priority, arrived_ns), self._arrivals
        )
        self._arrivals += 1
        self.requeue(entry)
        return entry

    def requeue(self, entry: QueueEntry[T]) -> None:
        """Put back what was popped or taken; it keeps its arrival and its key."""
        if entry.queued or entry.cancelled:
            raise ValueError("only what pop() or take() gave out can be put back")
        entry.queued = True
        self._alive += 1
        if not entry.inside:
            entry.inside = True
            heapq.heappush(self._heap, (entry.key, entry.order, entry))

    def pop(self) -> QueueEntry[T]:
        """Take the entry with the largest effective priority; O(log n). IndexError when empty."""
        while True:
            entry = heapq.heappop(self._heap)[2]
            entry.inside = False
            if entry.queued:
                entry.queued = False
                self._alive -= 1
                return entry

    def first(self) -> QueueEntry[T] | None:
        """The entry that :meth:`pop` would take; amortised O(log n)."""
        while self._heap:
            entry = self._heap[0][2]
            if entry.queued:
                return entry
            heapq.heappop(self._heap)
            entry.inside = False
        return None

    def cancel(self, entry: QueueEntry[T]) -> bool:
        """Forget a waiting entry; O(1), swept when the dead outnumber the living."""
        if not entry.queued:
            return False
        self.take(entry)
        entry.cancelled = True
        return True

    def take(self, entry: QueueEntry[T]) -> None:
        """Take a waiting entry out of its turn; O(1), swept when the dead outnumber the living."""
        if not entry.queued:
            raise ValueError("the entry is not waiting")
        entry.queued = False
        self._alive -= 1
        dead = len(self._heap) - self._alive
        if dead > max(self._alive, _SWEEP_AT):
            self._sweep()

    def _sweep(self) -> None:
        for _, _, entry in self._heap:
            entry.inside = entry.queued
        self._heap = [item for item in self._heap if item[2].queued]
        heapq.heapify(self._heap)

    def effective(self, entry: QueueEntry[T], now_ns: int) -> float:
        """The effective priority at ``now_ns``."""
        return entry.priority + self.rate * entry.waited(now_ns)

    def virtual_arrival(self, entry: QueueEntry[T]) -> float:
        """Seconds: a job of priority 0 that arrived then would have the place of this one."""
        return entry.arrived_ns / NANO - entry.priority / max(self.rate, _SLOWEST)

    def waiting(self) -> list[QueueEntry[T]]:
        """All entries alive, in no order."""
        return [item[2] for item in self._heap if item[2].queued]
