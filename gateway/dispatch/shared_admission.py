"""All who wait for a first start, whichever model they want: how many may, and who makes way.

Each model has a queue of its own, for no slot of one is of use to another. What may wait is bounded
for all of them together, and when that is too much, the one goes who would be served last of all:
places of all queues compare, for they all age at the same rate. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.core.errors import ForgeError
from gateway.ordering.admission import Admission, Bounds
from gateway.ordering.aging import QueueEntry

if TYPE_CHECKING:
    from gateway.dispatch.sequence import Sequence
    from gateway.dispatch.ticket import Ticket


class AdmissionQueue(Protocol):
    """A queue, as far as this goes."""

    admission: Admission[Ticket]

    def worst(self) -> QueueEntry[Sequence] | None:
        """The place that would be served last, of those that may go."""
        ...

    def set_aside(self, place: QueueEntry[Sequence]) -> None:
        """Do not name this place as the worst, until :meth:`put_back`."""
        ...

    def put_back(self, place: QueueEntry[Sequence]) -> None: ...


class SharedAdmission:
    """Shared by the queues of all models; and it numbers their sequences."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._members: dict[AdmissionQueue, Callable[[ForgeError], None]] = {}
        self._last_id = 0

    def join(self, member: AdmissionQueue, displace: Callable[[ForgeError], None]) -> None:
        """One queue more; ``displace`` ends the request that makes way next in it."""
        self._members[member] = displace

    @property
    def next_id(self) -> int:
        """The number of the next sequence."""
        return self._last_id + 1

    def number(self, sequences: int) -> None:
        """So many sequences have numbers now, from :attr:`next_id` on."""
        self._last_id += sequences

    def crowded(self, size: int) -> bool:
        """Whether a job of ``size`` bytes can't wait without somebody making way."""
        return self._over(size, 0, 0)

    def can_make_way(self, size: int, key: int) -> bool:
        """Whether such a job may wait once everybody went whose place is behind its ``key``."""
        gone: dict[Ticket, None] = {}
        smaller, seen = 0, list[tuple[AdmissionQueue, QueueEntry["Sequence"]]]()
        while self._over(size, len(gone), smaller):
            found = self._worst()
            if found is None or found[1].key <= key:
                break
            member, place = found
            member.set_aside(place)
            seen.append(found)
            ticket = place.item.ticket
            smaller += 0 if ticket in gone else ticket.job.size
            gone[ticket] = None
        for member, place in seen:
            member.put_back(place)
        return not self._over(size, len(gone), smaller)

    def _over(self, size: int, fewer: int, smaller: int) -> bool:
        """Whether it is too much, were ``fewer`` jobs of ``smaller`` bytes together not here."""
        count, total = -fewer, size - smaller
        for member in self._members:
            count += len(member.admission)
            total += member.admission.size
        return count >= self.bounds.requests or total > self.bounds.size

    def displace(self, error: ForgeError) -> None:
        """End the one who would be served last of all."""
        found = self._worst()
        assert found is not None, "nobody waits who was never started"
        self._members[found[0]](error)

    def _worst(self) -> tuple[AdmissionQueue, QueueEntry[Sequence]] | None:
        """The place that would be served last of all, and in which queue it is."""
        found: tuple[AdmissionQueue, QueueEntry[Sequence]] | None = None
        for member in self._members:
            place = member.worst()
            if place is not None and (found is None or place.key > found[1].key):
                found = member, place
        return found
