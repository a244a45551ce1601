"""Who is served next. One task owns the queue; everybody else uses narrow methods.

A job leaves the heap only when some worker holds a free credit (late binding), so its priority
counts until the last moment.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.aging import AgingHeap, Waiting
from gateway.errors import Unavailable, WorkerFailed, from_worker
from gateway.pool import Pool
from gateway.ticket import Job, Move, State, Ticket
from workers.protocol import Delta, Event, Failed, Finished, Started

log = logging.getLogger("forge.dispatcher")

MAX_DEATHS = 3
"""A job that saw this many workers die without giving a token in between is given up."""


class Observer(Protocol):
    """Who counts: the metrics."""

    def on_end(self, ticket: Ticket) -> None:
        """``ticket`` ended, one way or the other."""
        ...


class Dispatcher:
    """Tickets in, events out. All methods are called in the event loop."""

    def __init__(
        self, pool: Pool, aging_rate: float, clock_ns: Callable[[], int], observer: Observer
    ) -> None:
        # Process lifetime.
        self._pool = pool
        self._clock_ns = clock_ns
        self._observer = observer
        # Changes with every request.
        self._heap: AgingHeap[Ticket] = AgingHeap(aging_rate)
        self._running: dict[int, Ticket] = {}
        self._last_id = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    # ------------------------------------------------------------------ clients

    def submit(self, job: Job) -> Ticket:
        """Queue a job. Raises :class:`Unavailable` while draining."""
        if self._draining:
            raise Unavailable("the server is shutting down", retry_after=5)
        self._last_id += 1
        now = self._clock_ns()
        ticket = Ticket(self._last_id, job, now)
        ticket.place = self._heap.push(ticket, job.priority, now)
        self._idle.clear()
        self._wake.set()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """The client is gone. Does nothing to a ticket that has ended."""
        if ticket.ended:
            return
        if ticket.state is State.WAITING:
            assert ticket.place is not None
            self._heap.cancel(ticket.place)
        else:
            self._pool.cancel(ticket.id)
        ticket.move(Move.CANCEL)
        self._end(ticket)

    def drain(self) -> None:
        """Take no new jobs; those accepted are still served."""
        self._draining = True
        self._pool.drain()

    def abandon(self, reason: str) -> None:
        """End every ticket with :class:`Unavailable`: there is no time left to serve it."""
        for place in self._heap.waiting():
            self._heap.cancel(place)
            self._abandon(place.item, reason)
        for ticket in list(self._running.values()):
            self._pool.cancel(ticket.id)
            self._abandon(ticket, reason)

    def _abandon(self, ticket: Ticket, reason: str) -> None:
        ticket.fail(Unavailable(reason, retry_after=5))
        self._end(ticket)

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

    def first(self, count: int) -> list[tuple[Waiting[Ticket], float]]:
        """The next ``count`` places in the order of service, with their effective priorities."""
        now = self._clock_ns()
        return [(place, self._heap.effective(place, now)) for place in self._heap.first(count)]

    def now_ns(self) -> int:
        return self._clock_ns()

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Match waiting jobs with free credits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while len(self._heap) and self._pool.free():
                self._dispatch(self._heap.pop().item)

    def _dispatch(self, ticket: Ticket) -> None:
        ticket.move(Move.DISPATCH)
        ticket.attempt += 1
        if ticket.dispatched_ns is None:
            ticket.dispatched_ns = self._clock_ns()
        self._running[ticket.id] = ticket
        self._pool.submit(ticket.generate())

    # ------------------------------------------------------------------ the pool's events

    def on_event(self, event: Event) -> None:
        ticket = self._running.get(event.id)
        if ticket is None or event.attempt != ticket.attempt:
            return  # cancelled meanwhile, or the echo of an earlier attempt
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
        for ticket in [self._running[id_] for id_ in ids if id_ in self._running]:
            del self._running[ticket.id]
            ticket.deaths += 1
            if ticket.deaths >= MAX_DEATHS:
                ticket.fail(WorkerFailed(f"{ticket.deaths} workers died while computing this"))
                self._end(ticket)
                continue
            assert ticket.place is not None
            ticket.move(Move.REQUEUE)
            self._heap.requeue(ticket.place)
        self._wake.set()

    def on_credit(self) -> None:
        self._wake.set()

    def _end(self, ticket: Ticket) -> None:
        self._running.pop(ticket.id, None)
        ticket.place = None  # place and ticket refer to each other: free both now
        ticket.ended_ns = self._clock_ns()
        self._observer.on_end(ticket)
        if not self._running and not len(self._heap):
            self._idle.set()
