"""What waits, and what is next. The dispatcher takes sequences from here whenever a slot is free.

Three orders meet. The aging heap orders *places*: each sequence brings one when it arrives, and
its key never changes. When a place of some priority comes up, owners take turns: the job whose turn
it is swaps places with the one that holds it, so fairness never costs a class a place, and one
owner alone sees plain ageing. Sequences that were started before (parked, or their worker died)
keep their own place and take no turn: they have had it. And who was parked for as long as anybody
may be goes first of all.

Pure: the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.dispatch.job import Job
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.ordering.admission import Admission
from gateway.ordering.aging import AgingHeap, QueueEntry
from gateway.ordering.fairness import Turns, charge
from gateway.ordering.indexed_heap import IndexedHeap

if TYPE_CHECKING:
    from gateway.dispatch.ticket import Ticket

Entry = QueueEntry[Sequence]

USUAL_AT_FIRST = 256.0
"""Tokens that an answer is expected to have before any was seen."""
USUAL_OF = 64
"""Answers that the expectation looks back on, roughly."""


class Queue:
    """All sequences without a slot of one pool's.

    Implements :class:`gateway.dispatch.shared_admission.AdmissionQueue`.
    """

    def __init__(self, aging_rate: float, crowd: SharedAdmission) -> None:
        """``crowd``: all who wait, in other queues too."""
        self._crowd = crowd
        self._heap: AgingHeap[Sequence] = AgingHeap(aging_rate)
        self._turns: Turns[Sequence] = Turns()
        self.admission: Admission[Ticket] = Admission()
        self._urgent: IndexedHeap[Entry] = IndexedHeap()
        """The oldest place of the highest base priority on top."""
        self._worst: IndexedHeap[Entry] = IndexedHeap()
        """The place that would be served last on top, of tickets that were never started."""
        self._overdue: IndexedHeap[Entry] = IndexedHeap()
        """Parked sequences, by the moment from which they go before everybody."""
        self._suspects: IndexedHeap[Entry] = IndexedHeap()
        """Places outside the heap: their sequences wait for a worker of their own."""
        self._usual = USUAL_AT_FIRST
        """Tokens of a usual answer: a moving mean of those that were."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._suspects)

    @property
    def ready(self) -> int:
        """How many could use any free slot."""
        return len(self._heap)

    @property
    def suspects(self) -> int:
        """How many need a worker of their own."""
        return len(self._suspects)

    # ------------------------------------------------------------------ in

    def crowded(self, job: Job) -> bool:
        """Whether a job can't wait without somebody making way."""
        return self._crowd.crowded(job.size)

    def can_make_way(self, job: Job, now_ns: int) -> bool:
        """Whether ``job`` may wait once everybody went whose place is behind the newcomer's."""
        return self._crowd.can_make_way(job.size, self._heap.key(job.priority, now_ns))

    def worst(self) -> Entry | None:
        return self._worst.first()

    def set_aside(self, place: Entry) -> None:
        self._worst.discard(place)

    def put_back(self, place: Entry) -> None:
        self._rank(place)

    def last(self) -> Ticket:
        """Who makes way next: the last place goes, and the owner with the longest line loses it.

        But never somebody smaller than the one in that place, or too little room might be made.
        """
        place = self._worst.first()
        assert place is not None, "nobody waits who was never started"
        holder = place.item.ticket
        found = self._turns.last(place.priority, self._may_go)
        if found is None or found.ticket.job.size < holder.job.size:
            return holder
        if found.ticket is not holder:
            self._swap(place, _place(found))
        return found.ticket

    def _may_go(self, sequence: Sequence) -> bool:
        """Only who was never started: what has begun is not thrown away."""
        return sequence.ticket in self.admission

    def enter(self, ticket: Ticket) -> None:
        """A new ticket waits with all its sequences."""
        self.admission.enter(ticket, ticket.job.size)
        job = ticket.job
        cost = charge(job.tokens(self._usual), job.weight)
        for sequence in ticket.sequences:
            sequence.cost = cost
            sequence.place = self._heap.push(sequence, job.priority, ticket.arrived_ns)
            self._turns.enter(sequence, job.priority, job.owner, cost)
            self._index(sequence.place)

    def back(self, sequence: Sequence, overdue_ns: int | None = None) -> None:
        """A sequence that had a slot waits again, in its old place.

        ``overdue_ns``: when it was parked for as long as it may be.
        """
        place = _place(sequence)
        self._heap.requeue(place)
        self._index(place)
        if overdue_ns is not None:
            self._overdue.set(place, overdue_ns)

    def suspect(self, sequence: Sequence) -> None:
        """A sequence that had a slot waits for a worker that it shares with nobody."""
        place = _place(sequence)
        self._suspects.set(place, (place.key, place.order))

    # ------------------------------------------------------------------ out

    def next_suspect(self) -> Sequence:
        """Take the suspect that would be served first. Raises IndexError when there is none."""
        place = self._suspects.first()
        if place is None:
            raise IndexError("nobody is suspected")
        self._suspects.discard(place)
        return place.item

    def next(self, now_ns: int) -> Sequence:
        """Take the one whose turn it is. Raises IndexError when nothing waits."""
        place = self._overdue.first()
        if place is not None and self._overdue.first_rank() <= now_ns:
            self._heap.take(place)
        else:
            place = self._heap.pop()
        return self._serve(place)

    def next_urgent(self) -> Sequence:
        """Take the next one of the highest base priority, whatever its age."""
        place = self._urgent.first()
        if place is None:
            raise IndexError("nothing waits")
        self._heap.take(place)
        return self._serve(place)

    def leave(self, sequence: Sequence) -> None:
        """A waiting sequence gives up."""
        place = _place(sequence)
        self._suspects.discard(place)
        self._heap.cancel(place)
        self._unindex(place)
        if sequence.fresh:
            self._turns.leave(sequence, sequence.priority, sequence.ticket.job.owner)
        self.admission.leave(sequence.ticket)

    def settle(self, sequence: Sequence) -> None:
        """A sequence that had a slot has ended: its owner pays what it really took."""
        job, started = sequence.ticket.job, sequence.started
        prompt = started.prompt_tokens - started.cached_tokens if started is not None else 0
        real = charge(prompt + len(sequence.ids), job.weight)
        self._turns.settle(job.priority, job.owner, real - sequence.cost)
        if job.params.embedding is None:
            self._usual += (len(sequence.ids) - self._usual) / USUAL_OF

    def _serve(self, place: Entry) -> Sequence:
        """The sequence that uses a place which was just taken from the heap."""
        self._unindex(place)
        holder = place.item
        if not holder.fresh:
            return holder
        chosen = self._turns.take(place.priority)
        if chosen is not holder:
            self._swap(place, _place(chosen))
        if self.admission.leave(chosen.ticket):
            for sequence in chosen.ticket.sequences:
                self._worst.discard(_place(sequence))
        return chosen

    # ------------------------------------------------------------------ seen from outside

    def rank(self, sequence: Sequence) -> float:
        """The place that it has, or had before it was served, in seconds: the smallest is first."""
        return self._heap.virtual_arrival(_place(sequence))

    def first_key(self) -> int | None:
        """The key of who is first by age; keys of all queues compare, the smallest is first."""
        places = (self._suspects.first(), self._heap.first())
        return min((place.key for place in places if place is not None), default=None)

    def key(self, priority: float, now_ns: int) -> int:
        """The key of one who came now."""
        return self._heap.key(priority, now_ns)

    def highest(self) -> float | None:
        """The highest base priority that waits."""
        place = self._urgent.first()
        return None if place is None else place.priority

    def waiting(self) -> list[Sequence]:
        """All that wait, in no order."""
        return [place.item for place in (*self._suspects, *self._heap.waiting())]

    def order(self, now_ns: int) -> Iterator[tuple[Entry, Sequence]]:
        """Who would be served next and in which place, were all slots free; O(n log n)."""
        yield from ((place, place.item) for place in self._suspects.in_order())
        turns: dict[float, Iterator[Sequence]] = {}
        overdue = self._overdue.up_to(now_ns)
        by_age = sorted(self._heap.waiting(), key=lambda p: (p.key, p.order))
        for place in dict.fromkeys([*overdue, *by_age]):
            if not place.item.fresh:
                yield place, place.item
                continue
            if place.priority not in turns:
                turns[place.priority] = self._turns.order(place.priority)
            yield place, next(turns[place.priority])

    def effective(self, place: Entry, now_ns: int) -> float:
        """The effective priority of a place."""
        return self._heap.effective(place, now_ns)

    def leaks(self) -> list[str]:
        """What the books still hold, in words; nothing when nothing waits or runs."""
        books = {
            "places in the heap": len(self._heap),
            "requests admitted": len(self.admission),
            "bytes admitted": self.admission.size,
            "classes with turns": len(self._turns),
            "places ranked": len(self._urgent) + len(self._worst) + len(self._overdue),
            "suspects": len(self._suspects),
        }
        return [f"{count} {name}" for name, count in books.items() if count]

    # ------------------------------------------------------------------ books

    def _index(self, place: Entry) -> None:
        self._urgent.set(place, (-place.priority, place.key, place.order))
        self._rank(place)

    def _rank(self, place: Entry) -> None:
        if self._may_go(place.item):
            self._worst.set(place, (-place.key, -place.order))
        else:
            self._worst.discard(place)

    def _unindex(self, place: Entry) -> None:
        for ranked in (self._urgent, self._worst, self._overdue):
            ranked.discard(place)

    def _swap(self, one: Entry, other: Entry) -> None:
        """Two sequences of one class change places."""
        one.item, other.item = other.item, one.item
        for place in (one, other):
            place.item.place = place
            if place.queued:
                self._index(place)


def _place(sequence: Sequence) -> Entry:
    assert sequence.place is not None
    return sequence.place
