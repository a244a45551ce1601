"""A dispatcher seen from outside: a read-only view for endpoints, metrics and the model loader."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from gateway.dispatch.backpressure import Backpressure
from gateway.dispatch.preemptor import Preemptor
from gateway.dispatch.quarantine import Quarantine
from gateway.dispatch.queue import Entry
from gateway.dispatch.queues import Queues
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import ServiceRate
from gateway.pool import Pool


@dataclass(slots=True)
class Totals:
    """Counters of a dispatcher, which alone writes them."""

    accepted: int = 0
    """Sequences accepted since the start."""
    preemptions: int = 0
    """Sequences parked for more urgent ones, since the start."""
    failovers: int = 0
    """Sequences requeued because their workers died, since the start."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a dispatcher that a view reads."""

    pool: Pool
    queue: Queues
    tickets: Mapping[int, Ticket]
    running: Mapping[int, Sequence]
    preemptor: Preemptor
    quarantine: Quarantine
    backpressure: Backpressure
    rate: ServiceRate
    clock_ns: Callable[[], int]


class DispatcherStats:
    """A view of the sequences that wait, run and pause at a dispatcher. Changes nothing."""

    def __init__(self, parts: Parts, totals: Totals) -> None:
        """``parts`` and ``totals`` go on changing: each method reads their present state."""
        self._parts = parts
        self._totals = totals

    def depth(self) -> int:
        """Sequences waiting."""
        return len(self._parts.queue)

    def spare_depth(self) -> int:
        """Spare ones among them, which wait until nothing else does."""
        return len(self._parts.queue.spare)

    def running(self) -> int:
        """Sequences with a worker."""
        return len(self._parts.running)

    def spare_running(self) -> int:
        """Spare ones among them; O(n)."""
        return sum(sequence.job.spare for sequence in self._parts.running.values())

    def paused(self) -> int:
        """Sequences that wait for their clients to read."""
        return len(self._parts.backpressure)

    @property
    def accepted(self) -> int:
        """Sequences accepted since the start."""
        return self._totals.accepted

    @property
    def preemptions(self) -> int:
        """Sequences parked for more urgent ones, since the start."""
        return self._totals.preemptions

    @property
    def failovers(self) -> int:
        """Sequences requeued because their workers died, since the start."""
        return self._totals.failovers

    def leaks(self) -> list[str]:
        """Entries left in the books although nothing waits or runs: each of them is a bug.

        Empty while there is work. Right after a hang-up its worker still winds up.
        """
        if self.running() or self.depth() or self.paused():
            return []
        found = [*self._parts.queue.leaks(), *self._parts.pool.leaks()]
        if not self._parts.preemptor.quiet:
            found.append("a sequence is still asked to yield")
        if self._parts.tickets:
            found.append(f"{len(self._parts.tickets)} open requests without a sequence")
        return found

    def request_id(self, sequence: Sequence) -> str:
        """The name that clients see of the request to which an open sequence belongs."""
        return self._parts.tickets[sequence.ticket_id].request_id

    def waiting(self) -> list[Sequence]:
        """All sequences that wait, in no order."""
        return self._parts.queue.waiting()

    def served(self) -> Collection[Sequence]:
        """All sequences with a worker."""
        return self._parts.running.values()

    def order(self) -> Iterator[tuple[Entry, Sequence]]:
        """Sequences as they would be served, were all slots free, with entries; O(n log n)."""
        return self._parts.queue.order(self.now_ns())

    def effective(self, entry: Entry, now_ns: int) -> float:
        """The effective priority of an entry; that of a spare one does not grow."""
        return self._parts.queue.of(entry.item).effective(entry, now_ns)

    def deaths(self, sequence: Sequence) -> int:
        """Workers that died with a sequence since it last gave a token."""
        return self._parts.quarantine.deaths(sequence)

    def wait_estimate_s(self, ahead: int | None = None) -> float | None:
        """Seconds until a job with ``ahead`` others before it starts, at the measured rate.

        None: with all that wait now. Spare sequences are before none but their like.
        """
        if ahead is None:
            ahead = len(self._parts.queue.ordinary)
        return self._parts.rate.wait_s(ahead, self.now_ns())

    def first_key(self) -> int | None:
        """The key of the first entry by age; see :meth:`gateway.dispatch.queue.Queue.first_key`.

        Spare ones have none.
        """
        return self._parts.queue.ordinary.first_key()

    def key(self, priority: float) -> int:
        """The key of a job that arrives now."""
        return self._parts.queue.ordinary.key(priority, self.now_ns())

    def now_ns(self) -> int:
        """The dispatcher's clock."""
        return self._parts.clock_ns()
