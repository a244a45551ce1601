"""Who is served next. One task owns the queue; everybody else uses narrow methods.

A job leaves the heap only when some worker holds a free credit (late binding), so its priority
counts until the last moment.
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.admission import Admission, Bounds, Full, ServiceRate
from gateway.aging import NANO, AgingHeap, Waiting
from gateway.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    Displaced,
    ForgeError,
    QueueFull,
    Unavailable,
    WorkerFailed,
    from_worker,
)
from gateway.pool import Pool
from gateway.preemption import Rules
from gateway.ticket import Job, Move, State, Ticket
from workers.protocol import Delta, Event, Failed, Finished, Parked, Started

log = logging.getLogger("forge.dispatcher")

UNBOUNDED = Bounds(sys.maxsize, sys.maxsize)

MAX_DEATHS = 3
"""A job that saw this many workers die without giving a token in between is given up."""


class Observer(Protocol):
    """Who counts: the metrics."""

    def on_end(self, ticket: Ticket) -> None:
        """``ticket`` ended, one way or the other."""
        ...

    def on_unparked(self, seconds: float) -> None:
        """A ticket was parked for so long, and now it has a slot again or has ended."""
        ...


class Dispatcher:
    """Tickets in, events out. All methods are called in the event loop."""

    def __init__(
        self,
        pool: Pool,
        aging_rate: float,
        clock_ns: Callable[[], int],
        observer: Observer,
        *,
        bounds: Bounds = UNBOUNDED,
        queue_timeout: float | None = None,
        preemption: Rules | None = None,
    ) -> None:
        """``queue_timeout``: seconds a job may wait for its first start, unless it says itself.

        ``preemption``: None lets every job run to its end.
        """
        # Process lifetime.
        self._pool = pool
        self._clock_ns = clock_ns
        self._observer = observer
        self._queue_timeout = queue_timeout
        self._preemption = preemption
        # Changes with every request.
        self._heap: AgingHeap[Ticket] = AgingHeap(aging_rate)
        self._admission: Admission[Ticket] = Admission(bounds)
        self._rate = ServiceRate()
        self._running: dict[int, Ticket] = {}
        self._waiting_by_priority: Counter[float] = Counter()
        self._parking: Ticket | None = None
        """The one that was asked to yield its slot and has not answered yet."""
        self._quantum_timer: asyncio.TimerHandle | None = None
        self._last_id = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    # ------------------------------------------------------------------ clients

    def submit(self, job: Job) -> Ticket:
        """Queue a job. Raises :class:`Unavailable` while draining, or :class:`QueueFull`."""
        if self._draining:
            raise Unavailable("the server is shutting down", retry_after=5)
        now = self._clock_ns()
        self._rate.resume(now)
        self._make_way(job, now)
        self._last_id += 1
        ticket = Ticket(self._last_id, job, now)
        ticket.place = self._heap.push(ticket, job.priority, now)
        self._waiting_by_priority[job.priority] += 1
        self._admission.enter(ticket.place, job.size)
        self._set_timers(ticket)
        self._idle.clear()
        self._wake.set()
        return ticket

    def _make_way(self, job: Job, now_ns: int) -> None:
        """Keep the bounds: displace who is less urgent, or refuse the job."""
        if job.size > self._admission.bounds.size:
            raise BodyTooLarge("the request is larger than all that may wait together")
        if self._admission.crowded(job.size):
            self._match()  # slots may be free, and only this turn of the loop not over
        retry_after = self._rate.retry_after(len(self._heap), now_ns)
        try:
            victims = self._admission.offer(self._heap.key(job.priority, now_ns), job.size)
        except Full:
            raise QueueFull("the queue is full", retry_after=retry_after) from None
        for place in victims:
            message = "the queue is full, and a more urgent request came"
            self._abort(place.item, Displaced(message, retry_after=retry_after))

    def cancel(self, ticket: Ticket) -> None:
        """The client is gone. Does nothing to a ticket that has ended."""
        if ticket.ended:
            return
        self._withdraw(ticket)
        ticket.move(Move.CANCEL)
        self._end(ticket)

    def _abort(self, ticket: Ticket, error: ForgeError) -> None:
        """End a ticket, wherever it is, with an error for its client."""
        self._withdraw(ticket)
        ticket.fail(error)
        self._end(ticket)

    def _withdraw(self, ticket: Ticket) -> None:
        """Take a ticket that did not end from the queue or from its worker."""
        if ticket.state is State.WAITING:
            assert ticket.place is not None
            self._heap.cancel(ticket.place)
            self._left_queue(ticket)
        if ticket.attempt:
            self._pool.cancel(ticket.id)

    # ------------------------------------------------------------------ deadlines

    def _set_timers(self, ticket: Ticket) -> None:
        """The request's own limit covers everything, the operator's only the wait for a start."""
        if ticket.job.timeout is not None:
            limit, then = ticket.job.timeout, self.expire
        elif self._queue_timeout is not None:
            limit, then = self._queue_timeout, self.expire_waiting
        else:
            return
        ticket.timer = asyncio.get_running_loop().call_later(limit, then, ticket)

    def expire(self, ticket: Ticket) -> None:
        """The request's time is over, whatever it is doing."""
        if not ticket.ended:
            where = "in the queue" if ticket.attempt == 0 else "while it was generated"
            message = f"the request's time ran out {where}"
            self._abort(ticket, DeadlineExceeded(message, usage=ticket.usage))

    def expire_waiting(self, ticket: Ticket) -> None:
        """The longest wait that the operator allows is over; nothing to a job that was started."""
        if not ticket.ended and ticket.attempt == 0:
            self._abort(ticket, DeadlineExceeded("no worker was free in time"))

    def drain(self) -> None:
        """Take no new jobs; those accepted are still served."""
        self._draining = True
        self._pool.drain()

    def abandon(self, reason: str) -> None:
        """End every ticket with :class:`Unavailable`: there is no time left to serve it."""
        waiting = [place.item for place in self._heap.waiting()]
        for ticket in [*waiting, *self._running.values()]:
            self._abort(ticket, Unavailable(reason, retry_after=5))

    @property
    def draining(self) -> bool:
        return self._draining

    async def idle(self) -> None:
        """Wait until no job is waiting or running."""
        await self._idle.wait()

    # ------------------------------------------------------------------ the queue, seen from out

    def depth(self) -> int:
        """Jobs waiting."""
        return len(self._heap)

    def running(self) -> int:
        """Jobs with a worker."""
        return len(self._running)

    def waiting(self) -> list[Waiting[Ticket]]:
        """All waiting places, in no order."""
        return self._heap.waiting()

    def first(self, count: int) -> list[Waiting[Ticket]]:
        """The next ``count`` places in the order of service."""
        return self._heap.first(count)

    def effective(self, place: Waiting[Ticket]) -> float:
        """A place's effective priority now."""
        return self._heap.effective(place, self._clock_ns())

    def ahead(self, place: Waiting[Ticket]) -> int:
        """How many waiting jobs would be served before this one; O(n)."""
        return sum((p.key, p.order) < (place.key, place.order) for p in self._heap.waiting())

    def wait_estimate_s(self, ahead: int) -> float | None:
        """Seconds until a job with ``ahead`` others before it starts, at the measured rate."""
        return self._rate.wait_s(ahead, self._clock_ns())

    def now_ns(self) -> int:
        return self._clock_ns()

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Match waiting jobs with free credits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._match()
            if len(self._heap):
                self._preempt()

    def _match(self) -> None:
        while len(self._heap) and self._pool.free():
            self._dispatch(self._heap.pop().item)

    def _dispatch(self, ticket: Ticket) -> None:
        """Give a slot to a ticket that was just taken from the heap."""
        now = self._clock_ns()
        self._left_queue(ticket)
        ticket.move(Move.DISPATCH)
        ticket.attempt += 1
        ticket.slot_since_ns = now
        if ticket.dispatched_ns is None:
            ticket.dispatched_ns = now
            self._rate.mark(now)
        self._unpark(ticket, now)
        self._running[ticket.id] = ticket
        self._pool.submit(ticket.generate())

    def _left_queue(self, ticket: Ticket) -> None:
        self._waiting_by_priority[ticket.priority] -= 1
        if not self._waiting_by_priority[ticket.priority]:
            del self._waiting_by_priority[ticket.priority]
        if ticket.place is not None:
            self._admission.leave(ticket.place)

    # ------------------------------------------------------------------ preemption

    def _preempt(self) -> None:
        """Ask a running job to yield, if a waiting one has the right to its slot.

        One at a time: the answer comes within a decode step.
        """
        if self._preemption is None or self._parking is not None:
            return
        urgent = max(self._waiting_by_priority)
        now = self._clock_ns()
        victim, wait_ns = self._preemption.victim(self._running.values(), urgent, now)
        if victim is not None:
            self._parking = victim
            self._pool.park(victim.id)
        elif wait_ns:
            if self._quantum_timer is not None:
                self._quantum_timer.cancel()
            loop = asyncio.get_running_loop()
            self._quantum_timer = loop.call_later(wait_ns / NANO, self._wake.set)

    def _on_parked(self, ticket: Ticket) -> None:
        """The slot goes to the one it was freed for, not to whoever is oldest."""
        del self._running[ticket.id]
        ticket.parked_since_ns = self._clock_ns()
        self._requeue(ticket)
        urgent = max(self._waiting_by_priority)
        if urgent > ticket.priority:
            places = (p for p in self._heap.waiting() if p.priority == urgent)
            place = min(places, key=lambda place: (place.key, place.order))
            self._heap.take(place)
            self._dispatch(place.item)

    def _unpark(self, ticket: Ticket, now_ns: int) -> None:
        """A pause is over: the ticket has a slot again, or it ended."""
        if ticket.parked_since_ns is not None:
            pause_ns, ticket.parked_since_ns = now_ns - ticket.parked_since_ns, None
            ticket.parked_ns += pause_ns
            self._observer.on_unparked(pause_ns / NANO)

    def _yielded(self, id_: int, attempt: int) -> None:
        """The one that was asked to yield has left its slot, in whatever way."""
        asked = self._parking
        if asked is not None and (asked.id, asked.attempt) == (id_, attempt):
            self._parking = None

    def _requeue(self, ticket: Ticket) -> None:
        """Back into the queue with the old key."""
        assert ticket.place is not None
        ticket.move(Move.REQUEUE)
        self._heap.requeue(ticket.place)
        self._waiting_by_priority[ticket.priority] += 1
        self._wake.set()

    # ------------------------------------------------------------------ the pool's events

    def on_event(self, event: Event) -> None:
        if not isinstance(event, Started | Delta):
            self._yielded(event.id, event.attempt)
        ticket = self._running.get(event.id)
        if ticket is None or event.attempt != ticket.attempt:
            return  # cancelled meanwhile, or the echo of an earlier attempt
        if isinstance(event, Parked):
            self._on_parked(ticket)
            return
        if isinstance(event, Failed):
            ticket.fail(from_worker(event))
            self._end(ticket)
            return
        if isinstance(event, Started):
            if ticket.started is not None:
                return  # a later attempt: the client has been told
            ticket.started = event
        else:
            self._count_tokens(ticket, event)
        if isinstance(event, Finished):
            ticket.move(Move.FINISH)
            self._end(ticket)
        ticket.deliver(event)

    def _count_tokens(self, ticket: Ticket, event: Delta | Finished) -> None:
        ticket.ids.extend(event.ids)
        if event.ids:
            ticket.deaths = 0
            if ticket.first_token_ns is None:
                ticket.first_token_ns = self._clock_ns()

    def on_lost(self, ids: Sequence[int]) -> None:
        """Put the jobs of a dead worker back, with their old keys and the tokens they have."""
        for id_ in ids:
            if self._parking is not None and self._parking.id == id_:
                self._parking = None
            ticket = self._running.pop(id_, None)
            if ticket is None:
                continue
            ticket.deaths += 1
            if ticket.deaths >= MAX_DEATHS:
                ticket.fail(WorkerFailed(f"{ticket.deaths} workers died while computing this"))
                self._end(ticket)
            else:
                self._requeue(ticket)
        self._wake.set()

    def on_credit(self) -> None:
        self._wake.set()

    def _end(self, ticket: Ticket) -> None:
        self._running.pop(ticket.id, None)
        if ticket.timer is not None:
            ticket.timer.cancel()
        if ticket.place is not None:
            ticket.place = None  # place and ticket refer to each other: free both now
        ticket.ended_ns = self._clock_ns()
        self._unpark(ticket, ticket.ended_ns)
        self._observer.on_end(ticket)
        if not self._running and not len(self._heap):
            self._rate.pause(ticket.ended_ns)
            self._idle.set()
