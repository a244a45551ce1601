"""Spare requests at the dispatcher: they take what is left, and leave it at once."""

import asyncio
from dataclasses import dataclass, field

import pytest

from gateway.core.clock import NANO
from gateway.core.errors import DeadlineExceeded, QueueFull
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.sequence import State
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from gateway.ordering.preemption import PreemptionRules
from tests.support.memory_pool import Clock, Ends, MemoryPool, ids, job, only

pytestmark = pytest.mark.anyio


@dataclass
class Desk:
    """A dispatcher with its loop running, and a pool of eight slots."""

    bounds: Bounds = UNBOUNDED
    rules: PreemptionRules | None = None
    queue_timeout: float | None = None
    clock: Clock = field(default_factory=Clock)

    async def __aenter__(self) -> "Desk":
        self.pool = MemoryPool(8)
        self.dispatcher = Dispatcher(
            self.pool, 0.2, self.clock, Ends(), shared_admission=SharedAdmission(self.bounds),
            preemption=self.rules, queue_timeout=self.queue_timeout,
        )  # fmt: skip
        self.pool.attach(self.dispatcher)
        self._loop = asyncio.create_task(self.dispatcher.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._loop.done()
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)

    def submit(self, priority: float = 1.0, **fields: object) -> Ticket:
        return self.dispatcher.submit(job(priority, **fields))

    async def full(self, priority: float = 0.0) -> list[Ticket]:
        """Eight spare requests that have all slots; each came a nanosecond after the last."""
        tickets = []
        for _ in range(8):
            self.clock.now += 1
            tickets.append(self.submit(priority, spare=True))
        await self.settle()
        assert set(self.pool.running()) == set(ids(tickets))
        return tickets

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.mark.parametrize("rules", [None, PreemptionRules(quantum_s=1000.0, aging_rate=0.2)])
@pytest.mark.parametrize("priority", [-3.0, 0.0, 2.0])
async def test_each_that_comes_has_its_slot_after_one_step(
    rules: PreemptionRules | None, priority: float
) -> None:
    """No quantum and no priority protects spare ones, and all that are needed leave together."""
    async with Desk(rules=rules) as desk:
        spare = await desk.full(priority=9.0)
        came = [desk.submit(priority) for _ in range(3)]
        await desk.settle()
        assert sorted(desk.pool.asked_to_park) == sorted(ids(spare[-3:])), "the youngest"
        for id_ in list(desk.pool.asked_to_park):
            desk.pool.yield_slot(id_)
        await desk.settle()
        assert set(ids(came)) < set(desk.pool.running())
        assert desk.pool.asked_to_park == []
        assert desk.dispatcher.stats.preemptions == 3
        assert desk.dispatcher.stats.spare_depth() == 3


async def test_what_was_parked_goes_on_from_its_state() -> None:
    async with Desk() as desk:
        spare = await desk.full()
        victim = spare[-1]
        desk.pool.begin(victim.id)
        tokens = desk.pool.progress(victim.id, 4)
        other = desk.submit()
        later = desk.submit(9.0, spare=True)
        await desk.settle()
        desk.pool.yield_slot(victim.id)
        await desk.settle()
        assert only(victim).state is State.WAITING
        desk.pool.finish(other.id)
        await desk.settle()
        assert later.id in desk.pool.running(), "its priority is higher"
        desk.pool.finish(later.id)
        await desk.settle()
        again = desk.pool.running()[victim.id]
        assert (again.attempt, again.resume) == (2, tokens)


async def test_spare_ones_do_not_preempt_each_other() -> None:
    async with Desk(rules=PreemptionRules(quantum_s=0.0, aging_rate=0.2)) as desk:
        await desk.full()
        desk.submit(9.0, spare=True)
        desk.clock.now += 10**6 * NANO
        await desk.settle()
        assert desk.pool.asked_to_park == []


async def test_ordinary_ones_are_asked_when_no_spare_one_runs() -> None:
    async with Desk(rules=PreemptionRules(quantum_s=0.0, aging_rate=0.2)) as desk:
        ordinary = [desk.submit(0.0) for _ in range(7)]
        spare = desk.submit(5.0, spare=True)
        await desk.settle()
        urgent = [desk.submit(2.0) for _ in range(2)]
        await desk.settle()
        assert desk.pool.asked_to_park == [spare.id]
        desk.pool.yield_slot(spare.id)
        await desk.settle()
        (asked,) = desk.pool.asked_to_park
        assert asked in ids(ordinary)
        desk.pool.yield_slot(asked)
        await desk.settle()
        assert set(ids(urgent)) < set(desk.pool.running())


async def test_a_dead_worker_s_go_on_in_their_order() -> None:
    async with Desk() as desk:
        spare = await desk.full()
        ordinary = desk.submit()
        await desk.settle()
        desk.pool.die(0)
        await desk.settle()
        assert desk.pool.submitted[8].id == ordinary.id
        assert [request.id for request in desk.pool.submitted[9:]] == ids(spare[:7])
        assert desk.dispatcher.stats.failovers == 8
        desk.pool.finish(ordinary.id)
        await desk.settle()
        assert desk.pool.submitted[-1].id == spare[7].id


async def test_the_bounds_and_the_estimate_do_not_know_them() -> None:
    async with Desk(bounds=Bounds(requests=1, size=100)) as desk:
        ordinary = [desk.submit() for _ in range(8)]
        await desk.settle()
        spare = [desk.submit(spare=True, size=90) for _ in range(5)]
        waiting = desk.submit(size=90)
        with pytest.raises(QueueFull):
            desk.submit(size=90)
        desk.submit(2.0, size=90)
        assert waiting.ended, "it was displaced"
        assert not any(ticket.ended for ticket in spare)
        spare.append(desk.submit(spare=True, size=90))
        desk.clock.now += 8 * NANO
        stats = desk.dispatcher.stats
        assert stats.wait_estimate_s() == 2.0, "of one that is behind one other: a start a second"
        assert (stats.depth(), stats.spare_depth()) == (7, 6)
        assert len(ordinary) == stats.running()


async def test_a_rate_of_starts_is_that_of_ordinary_ones() -> None:
    async with Desk() as desk:
        first = desk.submit()
        await desk.settle()
        desk.pool.finish(first.id)
        estimate = desk.dispatcher.stats.wait_estimate_s()
        for _ in range(20):
            desk.clock.now += 100 * NANO
            spare = desk.submit(spare=True)
            await desk.settle()
            desk.pool.finish(spare.id)
        assert desk.dispatcher.stats.wait_estimate_s() == estimate


async def test_the_operators_limit_of_a_wait_is_not_theirs() -> None:
    async with Desk(queue_timeout=0.001) as desk:
        spare = await desk.full()
        waits, has_limit = desk.submit(spare=True), desk.submit(spare=True, timeout=0.001)
        with pytest.raises(DeadlineExceeded):
            await has_limit.take()
        await asyncio.sleep(0.01)
        assert not waits.ended
        assert not any(ticket.ended for ticket in spare)


async def test_promotion_while_it_waits() -> None:
    async with Desk() as desk:
        await desk.full()
        waits = desk.submit(0.0, spare=True)
        desk.dispatcher.promote(waits, 1.0)
        assert (waits.job.spare, waits.job.priority) == (False, 1.0)
        await desk.settle()
        (asked,) = desk.pool.asked_to_park
        desk.pool.yield_slot(asked)
        await desk.settle()
        sent = desk.pool.running()[waits.id]
        assert sent.priority == 1.0


async def test_promotion_while_it_runs() -> None:
    async with Desk() as desk:
        spare = await desk.full()
        desk.dispatcher.promote(spare[-1], 1.0)
        desk.submit()
        await desk.settle()
        assert desk.pool.asked_to_park == [spare[-2].id], "it keeps its slot"


async def test_promotion_while_it_is_asked_to_leave() -> None:
    async with Desk() as desk:
        spare = await desk.full()
        ordinary = desk.submit()
        await desk.settle()
        desk.dispatcher.promote(spare[-1], 1.0)
        desk.pool.yield_slot(spare[-1].id)
        await desk.settle()
        assert ordinary.id in desk.pool.running()
        assert desk.pool.asked_to_park == [spare[-2].id], "now another leaves for it"
        desk.pool.yield_slot(spare[-2].id)
        await desk.settle()
        assert spare[-1].id in desk.pool.running()


async def test_promotion_after_the_end_and_twice() -> None:
    async with Desk() as desk:
        spare = desk.submit(5.0, spare=True)
        await desk.settle()
        desk.dispatcher.promote(spare, 1.0)
        assert spare.job.priority == 5.0, "its own, which is higher"
        desk.dispatcher.promote(spare, 9.0)
        assert spare.job.priority == 5.0
        desk.pool.finish(spare.id)
        gone = desk.submit(spare=True)
        desk.dispatcher.cancel(gone)
        desk.dispatcher.promote(gone, 1.0)
        assert gone.job.spare
        assert desk.dispatcher.stats.leaks() == []


async def test_a_pool_that_is_held_is_left_at_once() -> None:
    async with Desk() as desk:
        spare = await desk.full()
        desk.dispatcher.hold()
        desk.dispatcher.hold()
        assert sorted(desk.pool.asked_to_park) == ids(spare)
        for ticket in spare:
            desk.pool.yield_slot(ticket.id)
        await desk.settle()
        assert desk.pool.running() == {}
        desk.dispatcher.release()
        await desk.settle()
        assert set(desk.pool.running()) == set(ids(spare))


async def test_a_drain_waits_for_them_too() -> None:
    async with Desk() as desk:
        spare = await desk.full()
        desk.dispatcher.drain()
        idle = asyncio.create_task(desk.dispatcher.idle())
        for ticket in spare:
            await desk.settle()
            assert not idle.done()
            desk.pool.finish(ticket.id)
        await idle
