"""The sequences that wait, and the choice of the next. The dispatcher takes one per free slot.

Three orders meet. The aging heap orders *entries*: each sequence brings one when it arrives, and
its key ``rate * arrival - priority`` never changes. When an entry comes up, the owners of its
priority take turns: the sequence whose turn it is swaps entries with the one that holds it, so
fairness never costs a priority class an entry, and one owner alone sees plain aging. Sequences that
were started before (parked, or their worker died) keep their own entry and take no turn: they have
had it. A sequence that was parked for as long as is allowed goes before all others.

An example at rate 0.2: A1 and A2 of owner A arrive with priority 1 at 0 s and 1 s (keys -1.0 and
-0.8), B1 of owner B with priority 1 at 2 s (key -0.6), C1 with priority 2 at 4 s (key -1.2). The
first slot is C1's. The second belongs to A1's entry, and A1 takes it: all owners are equal. The
third belongs to A2's entry, but now it is B's turn: B1 takes it, and A2 holds B1's entry. Had C1
come after 5 s, A1 would have gone first: 5 s of waiting weigh one of priority.

The queue owns entries and costs, by the ids of sequences. Pure: the clock is an argument.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Row

from gateway.dispatch.job import Job
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.ordering.admission import Admission
from gateway.ordering.aging import AgingHeap, QueueEntry
from gateway.ordering.fairness import Turns, charge
from gateway.ordering.indexed_heap import IndexedHeap

Entry = QueueEntry[Sequence]

USUAL_AT_FIRST = 256.0
"""Tokens that an answer is expected to have before any was seen."""
USUAL_OF = 64
"""Answers that the expectation looks back on, roughly."""


class Queue:
    """All sequences without a slot of one pool's.

    Implements :class:`gateway.dispatch.shared_admission.AdmissionQueue`.
    """

    def __init__(self, aging_rate: float, shared_admission: SharedAdmission) -> None:
        """``shared_admission``: counts what waits in the queues of all models."""
        self._shared = shared_admission
        self._heap: AgingHeap[Sequence] = AgingHeap(aging_rate)
        self._turns: Turns[Sequence] = Turns()
        self.admission: Admission[int] = Admission()
        """Ids of the tickets that were never started."""
        self._urgent: IndexedHeap[Entry] = IndexedHeap()
        """The oldest place of the highest base priority on top."""
        self._worst: IndexedHeap[Entry] = IndexedHeap()
        """The place that would be served last on top, of tickets that were never started."""
        self._overdue: IndexedHeap[Entry] = IndexedHeap()
        """Parked sequences, by the moment from which they go before all others."""
        self._suspects: IndexedHeap[Entry] = IndexedHeap()
        """Places outside the heap: their sequences wait for a worker of their own."""
        self._entries: dict[int, Entry] = {}
        """The entry of each sequence that has not ended, by its id, also while it has a slot."""
        self._costs: dict[int, int] = {}
        """The expected cost of each that took its turn here, in tags of
        `gateway.ordering.fairness`."""
        self._usual = USUAL_AT_FIRST
        """Tokens of a usual answer: a moving mean of those that were."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._suspects)

    @property
    def ready(self) -> int:
        """The number of sequences that could use any free slot."""
        return len(self._heap)

    @property
    def suspects(self) -> int:
        """The number of sequences that need a worker of their own."""
        return len(self._suspects)

    # ------------------------------------------------------------------ in

    def full(self, job: Job) -> bool:
        """Return whether ``job`` can wait only if another request is displaced."""
        return self._shared.full(job.size)

    def can_displace(self, job: Job, now_ns: int) -> bool:
        """True if ``job`` fits once requests are displaced whose entries are behind its own."""
        return self._shared.can_displace(job.size, self._heap.key(job.priority, now_ns))

    def worst_first(self) -> Iterator[Entry]:
        """Entries of requests that were never started, the one to be served last first."""
        return self._worst.walk()

    def victim(self) -> int:
        """Id of the ticket to displace next: the last entry goes, and the longest line loses it.

        A request smaller than the one in that entry is no victim: too little might be freed.
        """
        entry = self._worst.first()
        assert entry is not None, "every waiting request was started before"
        holder = entry.item
        found = self._turns.last(entry.priority, self._may_go)
        if found is None or found.job.size < holder.job.size:
            return holder.ticket_id
        if found.ticket_id != holder.ticket_id:
            self._swap(entry, self._entries[found.id])
        return found.ticket_id

    def _may_go(self, sequence: Sequence) -> bool:
        """Return whether its request was never started: work that has begun is not thrown away."""
        return sequence.ticket_id in self.admission

    def enter(self, sequences: Row[Sequence], *, started: bool = False) -> None:
        """All sequences of a new ticket wait.

        ``started``: a worker had it before, so it does not count for the bounds of admission.
        """
        if not started:
            self.admission.enter(sequences[0].ticket_id, sequences[0].job.size)
        for sequence in sequences:
            self._enter(sequence, sequence.arrived_ns)

    def adopt(self, sequence: Sequence, now_ns: int) -> None:
        """Take a sequence of another queue as if it came now; it is not counted by admission.

        One that was started does not wait before :meth:`back` or :meth:`suspect`. It has had its
        turn and paid for it in the other queue.
        """
        if sequence.fresh:
            self._enter(sequence, now_ns)
            return
        entry = self._heap.push(sequence, sequence.priority, now_ns)
        self._heap.take(entry)
        self._entries[sequence.id] = entry

    def _enter(self, sequence: Sequence, arrived_ns: int) -> None:
        job = sequence.job
        entry = self._heap.push(sequence, job.priority, arrived_ns)
        cost = charge(job.tokens(self._usual), job.weight)
        self._entries[sequence.id] = entry
        self._costs[sequence.id] = cost
        self._turns.enter(sequence, job.priority, job.owner, cost)
        self._index(entry)

    def back(self, sequence: Sequence, overdue_ns: int | None = None) -> None:
        """A sequence that had a slot waits again, in its old place.

        ``overdue_ns``: when it was parked for as long as it may be.
        """
        entry = self._entries[sequence.id]
        self._heap.requeue(entry)
        self._index(entry)
        if overdue_ns is not None:
            self._overdue.set(entry, overdue_ns)

    def suspect(self, sequence: Sequence) -> None:
        """Let a sequence that had a slot wait for a worker of its own."""
        entry = self._entries[sequence.id]
        self._suspects.set(entry, (entry.key, entry.order))

    def suspected(self, sequence: Sequence) -> bool:
        """Return whether it waits for a worker of its own."""
        return self._entries[sequence.id] in self._suspects

    # ------------------------------------------------------------------ out

    def next_suspect(self) -> Sequence:
        """Take the suspect that would be served first. Raises IndexError when there is none."""
        entry = self._suspects.first()
        if entry is None:
            raise IndexError("no sequence is suspected")
        self._suspects.discard(entry)
        return entry.item

    def next(self, now_ns: int) -> Sequence:
        """Take the one whose turn it is. Raises IndexError when nothing waits."""
        entry = self._overdue.first()
        if entry is not None and self._overdue.first_rank() <= now_ns:
            self._heap.take(entry)
        else:
            entry = self._heap.pop()
        return self._serve(entry)

    def next_urgent(self) -> Sequence:
        """Take the next one of the highest base priority, whatever its age."""
        entry = self._urgent.first()
        if entry is None:
            raise IndexError("nothing waits")
        self._heap.take(entry)
        return self._serve(entry)

    def leave(self, sequence: Sequence) -> None:
        """A waiting sequence gives up."""
        entry = self._entries[sequence.id]
        self._suspects.discard(entry)
        self._heap.cancel(entry)
        self._unindex(entry)
        if sequence.fresh:
            self._turns.leave(sequence, sequence.priority, sequence.job.owner)
        self.admission.leave(sequence.ticket_id)

    def settle(self, sequence: Sequence) -> None:
        """A sequence that had a slot has ended: its owner pays what it really took."""
        job, started = sequence.job, sequence.started
        prompt = started.prompt_tokens - started.cached_tokens if started is not None else 0
        real = charge(prompt + len(sequence.ids), job.weight)
        if sequence.id in self._costs:
            self._turns.settle(job.priority, job.owner, real - self._costs[sequence.id])
        if job.params.generates:
            self._usual += (len(sequence.ids) - self._usual) / USUAL_OF

    def forget(self, sequence: Sequence) -> None:
        """Drop the entry and the cost of a sequence that has ended, or goes to another queue."""
        del self._entries[sequence.id]
        self._costs.pop(sequence.id, None)

    def _serve(self, entry: Entry) -> Sequence:
        """The sequence that uses a place which was just taken from the heap."""
        self._unindex(entry)
        holder = entry.item
        if not holder.fresh:
            return holder
        chosen = self._turns.take(entry.priority)
        if chosen is not holder:
            self._swap(entry, self._entries[chosen.id])
        first = chosen.ticket_id
        if self.admission.leave(first):
            for id_ in range(first, first + chosen.job.choices):
                self._worst.discard(self._entries[id_])
        return chosen

    # ------------------------------------------------------------------ seen from outside

    def rank(self, sequence: Sequence) -> float:
        """The place that it has, or had before it was served, in seconds: the smallest is first."""
        return self._heap.virtual_arrival(self._entries[sequence.id])

    def first_key(self) -> int | None:
        """The key of the first by age; keys of all queues compare, the smallest is first."""
        entries = (self._suspects.first(), self._heap.first())
        return min((entry.key for entry in entries if entry is not None), default=None)

    def key(self, priority: float, now_ns: int) -> int:
        """The key of a sequence that came now."""
        return self._heap.key(priority, now_ns)

    def highest(self) -> float | None:
        """The highest base priority that waits."""
        entry = self._urgent.first()
        return None if entry is None else entry.priority

    def waiting(self) -> list[Sequence]:
        """All that wait, in no order."""
        return [entry.item for entry in (*self._suspects, *self._heap.waiting())]

    def order(self, now_ns: int) -> Iterator[tuple[Entry, Sequence]]:
        """The order of service and the place of each, were all slots free; O(n log n)."""
        yield from ((entry, entry.item) for entry in self._suspects.in_order())
        turns: dict[float, Iterator[Sequence]] = {}
        overdue = self._overdue.up_to(now_ns)
        by_age = sorted(self._heap.waiting(), key=lambda p: (p.key, p.order))
        for entry in dict.fromkeys([*overdue, *by_age]):
            if not entry.item.fresh:
                yield entry, entry.item
                continue
            if entry.priority not in turns:
                turns[entry.priority] = self._turns.order(entry.priority)
            yield entry, next(turns[entry.priority])

    def effective(self, entry: Entry, now_ns: int) -> float:
        """The effective priority of a place."""
        return self._heap.effective(entry, now_ns)

    def leaks(self) -> list[str]:
        """The entries that are still held, in words; none when nothing waits or runs."""
        books = {
            "places in the heap": len(self._heap),
            "requests admitted": len(self.admission),
            "bytes admitted": self.admission.size,
            "classes with turns": len(self._turns),
            "places ranked": len(self._urgent) + len(self._worst) + len(self._overdue),
            "suspects": len(self._suspects),
            "entries": len(self._entries),
        }
        return [f"{count} {name}" for name, count in books.items() if count]

    # ------------------------------------------------------------------ books

    def _index(self, entry: Entry) -> None:
        self._urgent.set(entry, (-entry.priority, entry.key, entry.order))
        self._rank(entry)

    def _rank(self, entry: Entry) -> None:
        if self._may_go(entry.item):
            self._worst.set(entry, (-entry.key, -entry.order))
        else:
            self._worst.discard(entry)

    def _unindex(self, entry: Entry) -> None:
        for ranked in (self._urgent, self._worst, self._overdue):
            ranked.discard(entry)

    def _swap(self, one: Entry, other: Entry) -> None:
        """Two sequences of one class change places."""
        one.item, other.item = other.item, one.item
        for entry in (one, other):
            self._entries[entry.item.id] = entry
            if entry.queued:
                self._index(entry)
