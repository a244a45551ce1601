"""The slots of a pool: which waiting sequences get them, and which running ones are asked for them.

Suspects come first, each to a worker of its own; then ordinary sequences, in the order of the
queue, and last the spare ones. An example with two slots, on which S1, which is spare, and A run: B
comes and finds no slot free. S1 is asked to yield and B has its slot one step later. C comes, which
is more urgent than A and B: the one that has lower priority and has had its quantum is asked, and C
has that slot, whichever waits longer.
"""

from collections.abc import Callable, Mapping

from gateway.core.clock import NANO
from gateway.dispatch.observer import Observer
from gateway.dispatch.preemptor import Preemptor
from gateway.dispatch.quarantine import Quarantine
from gateway.dispatch.queues import Queues
from gateway.dispatch.sequence import Move, Sequence
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import ServiceRate
from gateway.pool import Pool


class Slots:
    """Slots are given and asked back here; a dispatcher says when to look."""

    def __init__(
        self,
        pool: Pool,
        queue: Queues,
        tickets: Mapping[int, Ticket],
        preemptor: Preemptor,
        quarantine: Quarantine,
        rate: ServiceRate,
        observer: Observer,
        clock_ns: Callable[[], int],
    ) -> None:
        """``tickets``: those that have not ended, by id."""
        self._pool = pool
        self._queue = queue
        self._tickets = tickets
        self._preemptor = preemptor
        self._quarantine = quarantine
        self._rate = rate
        self._observer = observer
        self._clock_ns = clock_ns
        self.running: dict[int, Sequence] = {}
        """Sequences that have a slot, by id. The dispatcher takes them out."""
        self._held = False
        """True if nothing gets a slot for now."""

    def hold(self) -> None:
        """Give no more of them. Spare sequences are asked for theirs."""
        self._held = True
        self._preemptor.ask_spare(self.running.values(), len(self.running))

    def release(self) -> bool:
        """Give slots again; return whether they were held."""
        held, self._held = self._held, False
        return held

    # ------------------------------------------------------------------ given

    def match(self) -> None:
        """Give the free ones to sequences that wait."""
        if self._held:
            return
        self._match_suspect()
        while self._queue.ready and self._pool.free():
            self._give(self._queue.next(self._clock_ns()))
        if len(self._queue.spare):
            self._match_suspect()  # a spare one waits until nothing else does

    def _match_suspect(self) -> None:
        suspect = self._quarantine.next()
        if suspect is not None:
            self._give(suspect, alone=True)

    def give_urgent(self) -> None:
        """Give the slot that was just freed to the sequence of the highest priority."""
        if not self._held and self._pool.free():
            self._give(self._queue.ordinary.next_urgent())

    def _give(self, sequence: Sequence, *, alone: bool = False) -> None:
        """Give a slot to a sequence that was just taken from the queue."""
        now = self._clock_ns()
        if sequence.fresh:
            sequence.began_ns = now
            if not sequence.job.spare:
                self._rate.mark(now)
        sequence.move(Move.DISPATCH)
        sequence.attempt += 1
        sequence.slot_since_ns = now
        ticket = self._tickets[sequence.ticket_id]
        if ticket.dispatched_ns is None:
            ticket.dispatched_ns = now
        self.unpark(sequence, now)
        self.running[sequence.id] = sequence
        request = sequence.generate(self._queue.of(sequence).rank(sequence), now)
        if alone:
            worker = self._pool.submit_alone(request)
        else:
            worker = self._pool.submit(request, sequence.job.session)
        if sequence.course is not None:
            sequence.course.note("dispatched", now, worker, self._pool.node(worker))

    def unpark(self, sequence: Sequence, now_ns: int) -> None:
        """End the pause of a sequence, if it has one: it has a slot again, or it ended."""
        if sequence.parked_since_ns is not None:
            pause_ns, sequence.parked_since_ns = now_ns - sequence.parked_since_ns, None
            sequence.parked_ns += pause_ns
            self._observer.on_unparked(pause_ns / NANO)

    # ------------------------------------------------------------------ asked back

    def preempt(self) -> None:
        """Ask for slots for the ordinary sequences that wait; spare ones wait for free slots."""
        if self._held:
            return
        waiting, running = self._queue.ordinary, self.running.values()
        # A suspect needs the whole of a worker.
        wanted = len(running) if waiting.suspects else waiting.ready
        if wanted and self._preemptor.ask_spare(running, wanted):
            return
        if waiting.ready:
            clear = (s for s in running if not self._quarantine.holds(s))
            self._preemptor.ask(clear, waiting.highest(), self._clock_ns())
