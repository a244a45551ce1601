"""The two queues of a pool: ordinary sequences, and *spare* ones, which get what these leave.

A spare sequence takes only slots that nothing else wants. Its queue is looked at when no ordinary
sequence waits, not even for a worker of its own. There the order is by priority, then by turns of
the owners, then by arrival, and nothing ages: that is the same queue with an aging rate of 0. Spare
sequences have no part in the bounds of admission: they are not counted, not displaced, and displace
nothing.

An example with two slots: S1, S2 and S3 are spare, and S1 and S2 run. A comes, which is ordinary,
whatever its priority: S2, the younger, is parked at once and A has its slot after one step. S2
waits, before S3, and goes on from where it was when A has ended and nothing ordinary waits. If S2
is promoted meanwhile, it waits as an ordinary sequence that came at that moment.

Pure: the clock is an argument.
"""

from collections.abc import Iterator

from gateway.dispatch.job import Job
from gateway.dispatch.queue import Entry, Queue
from gateway.dispatch.sequence import Sequence, State
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission


class Queues:
    """All sequences without a slot of one pool's."""

    def __init__(self, aging_rate: float, shared_admission: SharedAdmission) -> None:
        """``shared_admission``: counts what waits in the ordinary queues of all models."""
        self.ordinary = Queue(aging_rate, shared_admission)
        self.spare = Queue(0.0, SharedAdmission(UNBOUNDED))

    def __len__(self) -> int:
        return len(self.ordinary) + len(self.spare)

    def of(self, sequence: Sequence) -> Queue:
        """Return the queue that a sequence belongs to, wherever it is now."""
        return self.spare if sequence.job.spare else self.ordinary

    @property
    def ready(self) -> int:
        """The number of sequences that could use any free slot now."""
        return self.ordinary.ready or (0 if self.ordinary.suspects else self.spare.ready)

    @property
    def suspects(self) -> int:
        """The number of sequences that need a worker of their own now."""
        return self.ordinary.suspects or (0 if self.ordinary.ready else self.spare.suspects)

    def next_suspect(self) -> Sequence:
        """Take the suspect that would be served first. Raises IndexError when there is none."""
        queue = self.ordinary if self.ordinary.suspects else self.spare
        return queue.next_suspect()

    def next(self, now_ns: int) -> Sequence:
        """Take the one whose turn it is. Raises IndexError when nothing waits."""
        queue = self.ordinary if self.ordinary.ready else self.spare
        return queue.next(now_ns)

    def promote(self, sequence: Sequence, job: Job, now_ns: int) -> None:
        """Make a spare sequence an ordinary one; ``job`` is what its request has become."""
        waits = sequence.state is State.WAITING
        suspected = waits and self.spare.suspected(sequence)
        if waits:
            self.spare.leave(sequence)
        if not sequence.fresh:
            self.spare.settle(sequence)
        self.spare.forget(sequence)
        sequence.job = job
        self.ordinary.adopt(sequence, now_ns)
        if suspected:
            self.ordinary.suspect(sequence)
        elif waits and not sequence.fresh:
            self.ordinary.back(sequence)

    # ------------------------------------------------------------------ seen from outside

    def waiting(self) -> list[Sequence]:
        """All that wait, in no order."""
        return [*self.ordinary.waiting(), *self.spare.waiting()]

    def order(self, now_ns: int) -> Iterator[tuple[Entry, Sequence]]:
        """The order of service and the place of each, were all slots free; O(n log n)."""
        yield from self.ordinary.order(now_ns)
        yield from self.spare.order(now_ns)

    def leaks(self) -> list[str]:
        """The entries that are still held, in words; none when nothing waits or runs."""
        return [*self.ordinary.leaks(), *(f"spare: {leak}" for leak in self.spare.leaks())]
