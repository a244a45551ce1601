"""Requests go to other workers while none of their tokens was sent, and stay after that."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.core.clock import NANO
from gateway.core.errors import DeadlineExceeded, QueueFull
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.sequence import State
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from gateway.ordering.preemption import PreemptionRules
from tests.support.memory_pool import Clock, Ends, MemoryPool, ids, job, only
from workers.protocol import Started

pytestmark = pytest.mark.anyio
RULES = PreemptionRules(quantum_s=0.0, aging_rate=0.2)


@dataclass
class TwoDesks:
    """Old workers and new ones, each with a slot; the new ones' slot is there from the start."""

    bounds: Bounds = field(default_factory=lambda: Bounds(100, 1 << 20))
    queue_timeout: float | None = None
    clock: Clock = field(default_factory=Clock)

    async def __aenter__(self) -> "TwoDesks":
        self.ends = Ends()
        self.shared = SharedAdmission(self.bounds)
        self.old_pool, self.old = self._desk()
        self.new_pool, self.new = self._desk()
        self.loops = [asyncio.create_task(each.run()) for each in (self.old, self.new)]
        return self

    def _desk(self) -> tuple[MemoryPool, Dispatcher]:
        pool = MemoryPool(1)
        dispatcher = Dispatcher(
            pool, 0.2, self.clock, self.ends, shared_admission=self.shared,
            preemption=RULES, queue_timeout=self.queue_timeout,
        )  # fmt: skip
        pool.attach(dispatcher)
        return pool, dispatcher

    async def __aexit__(self, *_: object) -> None:
        assert not any(loop.done() for loop in self.loops)
        for loop in self.loops:
            loop.cancel()
        await asyncio.gather(*self.loops, return_exceptions=True)

    async def submit(self, priority: float = 1.0, **fields: object) -> Ticket:
        self.clock.now += NANO
        ticket = self.old.submit(job(priority, **fields))
        await self.settle()
        return ticket

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def park(self, ticket: Ticket) -> None:
        """Make the running request leave its slot, by one that is more urgent; that one ends."""
        urgent = await self.submit(only(ticket).priority + 1)
        self.old_pool.yield_slot(ticket.id)
        await self.settle()
        self.old.cancel(urgent)
        self.old.hold()  # else it would run again at once
        self.old_pool.finish(urgent.id, "cancelled")
        await self.settle()
        assert only(ticket).state is State.WAITING

    async def serve(self, pool: MemoryPool) -> list[int]:
        """Finish what runs and waits there, one after the other; the ids in that order."""
        found = []
        await self.settle()
        while running := [*pool.running()]:
            found += running
            pool.finish(running[0])
            await self.settle()
        return found


async def test_what_has_not_begun_goes_and_the_rest_stays() -> None:
    async with TwoDesks() as desks:
        running = await desks.submit()
        desks.old_pool.progress(running.id)
        waiting = [await desks.submit(), await desks.submit(5.0), await desks.submit()]
        desks.old.hand_over(desks.new)
        await desks.settle()
        assert list(desks.old_pool.running()) == [running.id]
        assert desks.new.stats.depth() == 2
        assert await desks.serve(desks.new_pool) == [waiting[1].id, waiting[0].id, waiting[2].id]
        assert not desks.old.is_idle
        desks.old_pool.finish(running.id)
        assert desks.old.is_idle
        assert desks.old.stats.leaks() == desks.new.stats.leaks() == []
        assert {each.state for each in desks.ends.tickets} == {State.FINISHED}


async def test_the_order_is_that_of_the_arrivals() -> None:
    """A request that came to the old queue keeps its age beside what comes to the new one."""
    async with TwoDesks() as desks:
        await desks.submit()
        first = await desks.submit(1.0)
        desks.clock.now += 10 * NANO
        desks.new_pool.slots = (0,)
        desks.old.hand_over(desks.new)
        urgent = desks.new.submit(job(2.0))
        desks.new_pool.slots = (1,)
        desks.new_pool.listener.on_credit()
        assert await desks.serve(desks.new_pool) == [first.id, urgent.id]


async def test_one_that_was_parked_after_a_token_stays() -> None:
    """An answer is of one model."""
    async with TwoDesks() as desks:
        ticket = await desks.submit()
        tokens = desks.old_pool.progress(ticket.id, 3)
        await desks.park(ticket)
        desks.old.hand_over(desks.new)
        desks.old.release()
        await desks.settle()
        assert desks.new_pool.submitted == []
        assert desks.old_pool.running()[ticket.id].resume == tokens


async def test_one_that_was_parked_before_its_first_token_begins_anew() -> None:
    """It keeps its place, is told of one start only, and counts the new model's prompt."""
    async with TwoDesks() as desks:
        ticket = await desks.submit()
        desks.old_pool.begin(ticket.id, prompt=7)
        assert [type(event) for event in await ticket.take()] == [Started]
        await desks.park(ticket)
        desks.old.hand_over(desks.new)
        assert desks.old_pool.cancelled[-1] == ticket.id, "what it has there is given up"
        await desks.settle()
        request = desks.new_pool.running()[ticket.id]
        assert (request.resume, request.attempt) == ([], 2), "no late frame is taken for its own"
        desks.new_pool.begin(ticket.id, prompt=9, cached=0)
        desks.new_pool.finish(ticket.id)
        events = await ticket.take()
        assert not any(isinstance(event, Started) for event in events)
        assert ticket.usage.prompt == 9
        assert desks.old.stats.leaks() == desks.new.stats.leaks() == []


async def test_a_request_goes_as_a_whole() -> None:
    """Two of its choices would else be of two models."""
    async with TwoDesks() as desks:
        ticket = await desks.submit(n=3)
        assert list(desks.old_pool.running()) == [ticket.id]
        desks.old.hand_over(desks.new)
        await desks.settle()
        assert desks.new_pool.submitted == []
        assert await desks.serve(desks.old_pool) == ids(ticket.sequences)


async def test_clients_need_not_know_where_their_request_is() -> None:
    async with TwoDesks() as desks:
        await desks.submit()
        gone, spare = await desks.submit(), await desks.submit(spare=True)
        desks.old.hand_over(desks.new)
        desks.old.promote(spare, 3.0)
        assert spare.job.priority == 3.0
        desks.old.cancel(gone)
        assert gone.state is State.CANCELLED
        assert await desks.serve(desks.new_pool) == [spare.id]
        assert desks.new.stats.leaks() == []


async def test_its_time_runs_on() -> None:
    async with TwoDesks(queue_timeout=0.05) as desks:
        await desks.submit()
        ticket = await desks.submit()
        desks.clock.now += NANO  # all of it is over
        desks.new_pool.slots = (0,)
        desks.old.hand_over(desks.new)
        with pytest.raises(DeadlineExceeded):
            await ticket.take()


async def test_bounds_count_what_came_and_not_what_has_run() -> None:
    async with TwoDesks(Bounds(1, 1 << 20)) as desks:
        parked = await desks.submit()
        await desks.park(parked)
        desks.new_pool.slots = (0,)
        desks.old.hand_over(desks.new)
        waiting = desks.new.submit(job())
        with pytest.raises(QueueFull):
            desks.new.submit(job())
        urgent = desks.new.submit(job(9.0))
        assert waiting.state is State.FAILED
        assert parked.state is State.WAITING, "work that has begun is not thrown away"
        assert urgent.state is State.WAITING


async def test_a_dispatcher_that_is_done_leaves_the_bounds() -> None:
    async with TwoDesks() as desks:
        await desks.submit()
        waiting = await desks.submit()
        desks.old.hand_over(desks.new)
        await desks.serve(desks.old_pool)
        desks.old.close()
        assert await desks.serve(desks.new_pool) == [waiting.id]
        with pytest.raises(KeyError):
            desks.old.close()
