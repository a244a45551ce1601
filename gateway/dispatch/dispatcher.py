"""The loop between requests and workers: it gives free slots to sequences, and ends tickets.

A sequence leaves the queue only when a worker holds a free credit (late binding), so its priority
counts until the last moment. A request of several sequences ends with the last of them, or with the
first that fails. The dispatcher, its slots and its open tickets alone write sequences and tickets,
and find a sequence's ticket by its id; the other parts (queue, quarantine, backpressure, deadlines,
preemptor) keep what they know by id, too.

An example with one slot and a quantum of 1 s: request 1 (priority 1) runs. Request 2 (priority 2)
comes; after 1 s the preemptor asks 1 to yield. The worker answers Parked: 1 waits again with its
old key and its tokens, and the slot goes to 2, for which it was freed. When 2 has finished, 1 is
sent again as attempt 2, and its worker goes on from the state it kept. If that worker dies, 1 waits
once more with its old key, and attempt 3 computes prompt and tokens anew on another worker. Frames
of attempts 1 and 2 that still arrive are dropped: (id, attempt) names each piece of work.
"""

import asyncio
import logging
from collections.abc import Callable
from collections.abc import Sequence as Row
from dataclasses import replace

from gateway.core.errors import (
    SHUTTING_DOWN,
    BodyTooLarge,
    Displaced,
    ForgeError,
    QueueFull,
    Unavailable,
    WorkerFailed,
    from_worker,
)
from gateway.dispatch.backpressure import UNREAD, Backpressure
from gateway.dispatch.course import What
from gateway.dispatch.handover import Handover
from gateway.dispatch.job import Job
from gateway.dispatch.observer import Observer
from gateway.dispatch.open_tickets import OpenTickets
from gateway.dispatch.preemptor import Preemptor
from gateway.dispatch.quarantine import Quarantine
from gateway.dispatch.queues import Queues
from gateway.dispatch.sequence import Move, Sequence
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission
from gateway.dispatch.slots import Slots
from gateway.dispatch.stats import DispatcherStats, Parts, Totals
from gateway.dispatch.ticket import Meter, Ticket
from gateway.ordering.admission import ServiceRate
from gateway.ordering.preemption import PreemptionRules
from gateway.pool import Pool
from workers.protocol import Delta, Event, Failed, Finished, Parked, Started

log = logging.getLogger("forge.dispatcher")

TROUBLE_RETRY_S = 10
"""Time to come back after the pool told of trouble: by then it has tried again."""


class Dispatcher:
    """Tickets in, events out. All methods are called in the event loop."""

    def __init__(
        self,
        pool: Pool,
        aging_rate: float,
        clock_ns: Callable[[], int],
        observer: Observer,
        *,
        shared_admission: SharedAdmission | None = None,
        queue_timeout: float | None = None,
        preemption: PreemptionRules | None = None,
        unread: int = UNREAD,
        meter: Callable[[Job], Meter] | None = None,
        changed: Callable[[], None] = lambda: None,
        totals: Totals | None = None,
    ) -> None:
        """``shared_admission``: shared with dispatchers of other pools; None: no bounds.

        ``queue_timeout``: seconds a job may wait for its first start, unless it says itself.
        ``preemption``: None lets every job run to its end. ``unread``: events that may lie in a
        ticket before its generations pause. ``meter``: makes what counts a job's tokens.
        ``changed`` is called when there is more or less to do. ``totals``: counters to go on with.
        """
        # Process lifetime.
        self._pool = pool
        self._clock_ns = clock_ns
        self._observer = observer
        self._meter = meter
        self._changed = changed
        self._shared_admission = shared_admission or SharedAdmission(UNBOUNDED)
        # Changes with every request.
        self._wake = asyncio.Event()
        self._queue = Queues(aging_rate, self._shared_admission)
        self._shared_admission.join(self._queue.ordinary, self._displace)
        self._preemptor = Preemptor(pool, preemption, self._wake.set)
        self._quarantine = Quarantine(pool, self._queue, self._wake.set)
        self._backpressure = Backpressure(pool, self._requeue, unread)
        self._rate = ServiceRate()
        self._tickets: dict[int, Ticket] = {}
        """Tickets that have not ended, by id."""
        self.totals = totals or Totals()
        self._slots = Slots(
            pool,
            self._queue,
            self._tickets,
            self._preemptor,
            self._quarantine,
            self._rate,
            observer,
            clock_ns,
        )
        self._running = self._slots.running
        parts = Parts(
            pool,
            self._queue,
            self._tickets,
            self._running,
            self._preemptor,
            self._quarantine,
            self._backpressure,
            self._rate,
            clock_ns,
        )
        self.stats = DispatcherStats(parts, self.totals)
        self._open = OpenTickets(
            self._tickets,
            parts,
            self._slots,
            observer,
            queue_timeout=queue_timeout,
            wake=self._wake.set,
            changed=changed,
        )
        self.deadlines = self._open.deadlines
        self._handover = Handover(parts, self._slots, self.deadlines)
        self._drained_for: str | None = None
        """Reason that new jobs are told, once there is one."""

    # ------------------------------------------------------------------ clients

    def submit(self, job: Job) -> Ticket:
        """Queue a job. Raises :class:`Unavailable` while draining, or :class:`QueueFull`."""
        if self._drained_for is not None:
            raise Unavailable(self._drained_for, retry_after=5)
        if self._pool.trouble is not None:
            raise Unavailable(self._pool.trouble, retry_after=TROUBLE_RETRY_S)
        now = self._clock_ns()
        self._admit(job, now)
        meter = None if self._meter is None else self._meter(job)
        ticket = Ticket(self._shared_admission.next_id, job, now, meter)
        self._shared_admission.number(len(ticket.sequences))
        self.totals.accepted += len(ticket.sequences)
        self._open.add(ticket)
        ticket.home = self
        self._queue.of(ticket.sequences[0]).enter(ticket.sequences)
        self.deadlines.set(ticket)
        self._wake.set()
        self._changed()
        return ticket

    def _admit(self, job: Job, now_ns: int) -> None:
        """Keep the bounds: displace less urgent requests, or refuse the job."""
        if job.size > self._shared_admission.bounds.size:
            raise BodyTooLarge("the request is larger than all that may wait together")
        waiting = self._queue.ordinary
        if job.spare or not waiting.full(job):
            return
        self._slots.match()  # slots may be free, and only this turn of the loop not over
        retry_after = self._rate.retry_after(len(waiting), now_ns)
        if not waiting.can_displace(job, now_ns):
            raise QueueFull("the queue is full", retry_after=retry_after)
        message = "the queue is full, and a more urgent request came"
        self._shared_admission.displace(job.size, Displaced(message, retry_after=retry_after))

    def promote(self, ticket: Ticket, priority: float) -> None:
        """Make a spare ticket an ordinary one that came now, of ``priority`` at least.

        Does nothing to one that is not spare, or has ended.
        """
        if ticket.ended or not ticket.job.spare:
            return
        if ticket.home is not None and ticket.home is not self:
            ticket.home.promote(ticket, priority)
            return
        now = self._clock_ns()
        self._open.count_ordinary()
        ticket.job = replace(ticket.job, spare=False, priority=max(priority, ticket.job.priority))
        for sequence in ticket.sequences:
            if not sequence.ended:
                self._queue.promote(sequence, ticket.job, now)
        self._wake.set()
        self._changed()

    def cancel(self, ticket: Ticket) -> None:
        """The client is gone. Does nothing to a ticket that has ended."""
        if ticket.home is not None and ticket.home is not self:
            ticket.home.cancel(ticket)
        elif not ticket.ended:
            self._open.cancel(ticket)

    def _displace(self, ticket_id: int, error: ForgeError) -> None:
        """End a ticket that waits for a first start: a more urgent request needs its room."""
        self._open.abort(self._tickets[ticket_id], error)

    # ------------------------------------------------------------------ the end of it all

    def drain(self, reason: str = SHUTTING_DOWN) -> None:
        """Take no new jobs; those accepted are still served. ``reason`` is told to the others."""
        self._drained_for = reason
        self._pool.drain()

    def abandon(self, reason: str, retry_after: int = 5) -> None:
        """End every ticket with :class:`Unavailable`: it can't be served."""
        for ticket in list(self._tickets.values()):
            self._open.abort(ticket, Unavailable(reason, retry_after=retry_after))

    def end_owner(self, owner: str, error: ForgeError) -> int:
        """End the tickets of an owner, with an error for their clients; return their number."""
        theirs = [ticket for ticket in self._tickets.values() if ticket.job.owner == owner]
        for ticket in theirs:
            self._open.abort(ticket, error)
        return len(theirs)

    @property
    def draining(self) -> bool:
        return self._drained_for is not None

    @property
    def is_idle(self) -> bool:
        """Return whether every job has ended."""
        return self._open.none.is_set()

    async def idle(self) -> None:
        """Wait until every job has ended, also those that wait for their clients to read."""
        await self._open.none.wait()

    # ------------------------------------------------------------------ other workers

    def hand_over(self, to: "Dispatcher") -> None:
        """Give another dispatcher all requests of which nothing was said and nothing is computed.

        The others are finished here. See :mod:`gateway.dispatch.handover`.
        """
        for ticket in self._handover.movable():
            self._handover.out(ticket)
            to._take_over(ticket)
            self._open.remove(ticket, self._clock_ns())
        self._wake.set()

    def _take_over(self, ticket: Ticket) -> None:
        """Serve a request of another dispatcher."""
        self._open.add(ticket)
        ticket.home = self
        self._handover.into(ticket)
        self._wake.set()
        self._changed()

    def close(self) -> None:
        """Leave the bounds that are shared with others: there are no requests any more."""
        assert not self._tickets, "they would be lost"
        self._shared_admission.leave(self._queue.ordinary)

    # ------------------------------------------------------------------ a pool that comes and goes

    def hold(self) -> None:
        """Give no more slots: waiting sequences keep their places, running ones go on.

        Spare ones leave their slots: what they are held for need not wait for their ends.
        """
        self._slots.hold()

    def release(self) -> None:
        """Give slots again."""
        if self._slots.release():
            self._wake.set()

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Match waiting sequences with free credits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._slots.match()
            self._slots.preempt()

    # ------------------------------------------------------------------ the pool's events

    def on_event(self, event: Event) -> None:
        asked = False
        if not isinstance(event, Started | Delta):
            asked = self._preemptor.answered(event.id, event.attempt)
        sequence = self._running.get(event.id)
        if sequence is None or event.attempt != sequence.attempt:
            return  # cancelled meanwhile, or the echo of an earlier attempt
        if isinstance(event, Parked):
            self.totals.preemptions += asked
            self._on_parked(sequence, "preempted" if asked else "parked")
        elif isinstance(event, Failed):
            which = self._tickets[sequence.ticket_id].prompt_index(sequence)
            self._open.fail(sequence, from_worker(event, which))
        else:
            self._progress(sequence, event)

    def _progress(self, sequence: Sequence, event: Started | Delta | Finished) -> None:
        ticket = self._tickets[sequence.ticket_id]
        if isinstance(event, Started):
            if sequence.started is not None:
                return  # a later attempt
            sequence.started = event
            if sequence.told:
                return  # it began anew with other workers
            sequence.told = True
        else:
            if event.ids:
                self._quarantine.clear(sequence)
            ticket.count(sequence, event, self._clock_ns())
        if isinstance(event, Finished):
            sequence.reason = event.reason
            self._open.finish(sequence)
        ticket.deliver(event)
        if not sequence.ended:
            self._backpressure.delivered(sequence, ticket)

    def _on_parked(self, sequence: Sequence, what: What) -> None:
        """Give the slot to the sequence that it was freed for, not to the oldest.

        A spare sequence's slot counts as free: it is given as any other.
        """
        now = self._clock_ns()
        del self._running[sequence.id]
        self._quarantine.leave(sequence)
        ticket = self._tickets[sequence.ticket_id]
        if self._backpressure.parked(sequence, ticket):
            sequence.note("paused", now)
            sequence.move(Move.PAUSE)
            ticket.when_read(self._backpressure.resume)
            return
        sequence.note(what, now)
        sequence.parked_since_ns = now
        urgent = None if sequence.job.spare else self._queue.ordinary.highest()
        if urgent is None or urgent <= sequence.priority:
            self._requeue(sequence)
            return
        self._requeue(sequence, self._preemptor.overdue_ns(sequence, urgent, now))
        self._slots.give_urgent()

    def _requeue(self, sequence: Sequence, overdue_ns: int | None = None) -> None:
        """Back into the queue with the old key."""
        sequence.move(Move.REQUEUE)
        queue = self._queue.of(sequence)
        if self._quarantine.suspected(sequence):
            queue.suspect(sequence)
        else:
            queue.back(sequence, overdue_ns)
        self._wake.set()
        self._changed()

    def on_lost(self, ids: Row[int]) -> None:
        """Put the jobs of a dead worker back, with their old keys and the tokens they have."""
        now = self._clock_ns()
        self._quarantine.worker_died(ids, now)
        for id_ in ids:
            self._preemptor.lost(id_)
            sequence = self._running.get(id_)
            if sequence is None:
                continue
            sequence.note("lost", now)
            if self._quarantine.lost(sequence, now):
                deaths = self._quarantine.deaths(sequence)
                error = WorkerFailed(f"{deaths} workers died while computing this")
                self._open.fail(sequence, error)
                continue
            del self._running[id_]
            self._backpressure.leave(sequence)
            self.totals.failovers += 1
            self._requeue(sequence)
        self._wake.set()

    def on_violation(self, what: str) -> None:
        """Report a broken invariant, which is a bug.

        Nothing can be done now but to say so, loudly.
        """
        log.critical("INVARIANT VIOLATED, please report this bug: %s", what)
        self._observer.on_violation(what)

    def on_trouble(self, reason: str) -> None:
        """End the waiting requests, which would hang for as long as no worker can be started."""
        self.abandon(reason, retry_after=TROUBLE_RETRY_S)

    def on_credit(self) -> None:
        self._wake.set()
        self._changed()
