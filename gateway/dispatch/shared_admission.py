"""Bounds on the requests that wait for a first start, over the queues of all models.

Each model has its own queue, since no slot of one model is of use to another. The bounds hold for
all queues together. When they are exceeded, the request is displaced that would be served last of
all: entries of all queues compare, because they age at the same rate. Pure.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from heapq import merge
from typing import TYPE_CHECKING, Protocol

from gateway.core.errors import ForgeError
from gateway.ordering.admission import Admission, Bounds
from gateway.ordering.aging import QueueEntry

if TYPE_CHECKING:
    from gateway.dispatch.sequence import Sequence

UNBOUNDED = Bounds(sys.maxsize, sys.maxsize)


class AdmissionQueue(Protocol):
    """A model's queue, as far as admission is concerned."""

    admission: Admission[int]
    """Ids of tickets."""

    def worst_first(self) -> Iterator[QueueEntry[Sequence]]:
        """Entries of requests that were never started, the one to be served last first."""
        ...

    def victim(self) -> int:
        """Id of the ticket to displace next. Some request must wait that was never started."""
        ...


class SharedAdmission:
    """Count what waits in the queues of all models, and number their sequences."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._ends: dict[AdmissionQueue, Callable[[int, ForgeError], None]] = {}
        """For each queue the way to end one of its tickets, by id."""
        self._last_id = 0

    def join(self, queue: AdmissionQueue, end: Callable[[int, ForgeError], None]) -> None:
        """Count a further queue; ``end`` ends one of its tickets, wherever its sequences are."""
        self._ends[queue] = end

    def leave(self, queue: AdmissionQueue) -> None:
        """Count a queue no more: nothing waits there, and nothing will."""
        del self._ends[queue]

    @property
    def next_id(self) -> int:
        """The number of the next sequence."""
        return self._last_id + 1

    def number(self, sequences: int) -> None:
        """Give so many sequences their numbers, from :attr:`next_id` on."""
        self._last_id += sequences

    def full(self, size: int) -> bool:
        """Return whether a job of ``size`` bytes can wait only if another request is displaced."""
        return self._over(size, 0, 0)

    def can_displace(self, size: int, key: int) -> bool:
        """True if a job fits once requests are displaced whose entries are behind its ``key``."""
        displaced: set[int] = set()
        freed = 0
        entries = merge(*(queue.worst_first() for queue in self._ends), key=_last_first)
        while self._over(size, len(displaced), freed):
            entry = next(entries, None)
            if entry is None or entry.key <= key:
                return False
            sequence = entry.item
            if sequence.ticket_id not in displaced:
                displaced.add(sequence.ticket_id)
                freed += sequence.job.size
        return True

    def displace(self, size: int, error: ForgeError) -> list[int]:
        """End tickets with ``error`` until a job of ``size`` bytes fits; return their ids.

        :meth:`can_displace` must have said that this is possible.
        """
        victims = []
        while self.full(size):
            queue = self._worst_queue()
            victims.append(queue.victim())
            self._ends[queue](victims[-1], error)
        return victims

    def _over(self, size: int, fewer: int, smaller: int) -> bool:
        """True if the bounds are exceeded once ``fewer`` jobs of ``smaller`` bytes are gone."""
        count, total = -fewer, size - smaller
        for queue in self._ends:
            count += len(queue.admission)
            total += queue.admission.size
        return count >= self.bounds.requests or total > self.bounds.size

    def _worst_queue(self) -> AdmissionQueue:
        """The queue of the entry that would be served last of all."""
        found: tuple[int, AdmissionQueue] | None = None
        for queue in self._ends:
            entry = next(queue.worst_first(), None)
            if entry is not None and (found is None or entry.key > found[0]):
                found = entry.key, queue
        assert found is not None, "every waiting request was started before"
        return found[1]


def _last_first(entry: QueueEntry[Sequence]) -> int:
    return -entry.key
