"""Loading and unloading with pools that the test plays: what must hold at every await."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gateway.config.config import ConfigError
from gateway.core.clock import NANO
from gateway.core.errors import DeadlineExceeded, ModelInUse, Unavailable
from gateway.dispatch.dispatcher import Dispatcher
from gateway.pool import Listener, PoolFailed
from gateway.served.loader import ModelLoader
from gateway.served.resident import LoadNeed, Resident
from gateway.served.swappable_pool import SwappablePool
from gateway.telemetry.metrics.models import Loads, ModelLabels
from gateway.telemetry.metrics.registry import Registry
from tests.support.memory_pool import Clock, Ends, MemoryPool, job
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio


class SlowPool(MemoryPool):
    """One slot; it is there when the test says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.start_now: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stopped = False

    async def start(self, listener: Listener) -> None:
        await self.start_now
        await super().start(listener)
        listener.on_credit()

    async def stop(self) -> None:
        self.stopped = True


class House:
    """Models of 60 bytes, and a budget of 100."""

    def __init__(
        self,
        names: Iterable[str],
        queue_timeout: float | None = None,
        keep_alive: float | None = None,
    ) -> None:
        self.clock = Clock()
        self.made: dict[str, list[SlowPool]] = {name: [] for name in names}
        pools = {name: SwappablePool(lambda name=name: self._make(name), ()) for name in self.made}  # type: ignore[misc]
        residents = [Resident(name, LoadNeed(60), keep_alive, pool) for name, pool in pools.items()]
        loads = Loads(Registry(), ModelLabels(list(self.made), "others"))
        self.loader = ModelLoader(100, residents, self.clock, loads, queue_timeout)
        self.at = {
            name: Dispatcher(pool, 0.2, self.clock, Ends(), changed=self.loader.poke)
            for name, pool in pools.items()
        }
        self.loader.begin(self.at)

    def _make(self, name: str) -> SlowPool:
        self.made[name].append(SlowPool())
        return self.made[name][-1]

    async def __aenter__(self) -> "House":
        self._tasks = [asyncio.create_task(each.run()) for each in self.at.values()]
        self._tasks.append(asyncio.create_task(self.loader.run()))
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not [task for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loader.stop()
        assert all(pool.stopped for pools in self.made.values() for pool in pools)

    async def arrive(self, name: str) -> SlowPool:
        """The model's newest pool can be used."""
        await settle()
        self.made[name][-1].start_now.set_result(None)
        await settle()
        return self.made[name][-1]


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def test_requests_wait_for_their_model_and_make_the_idle_one_go() -> None:
    async with House("ab") as house:
        house.at["a"].submit(job())
        await settle()
        assert house.loader.state("a") == "loading"
        pool = await house.arrive("a")
        (id_,) = pool.running()
        house.at["b"].submit(job())
        await settle()
        assert house.made["b"] == [], "a works"
        pool.finish(id_)
        await settle()
        assert pool.stopped
        assert (await house.arrive("b")).running()


async def test_a_yielding_model_gives_no_slot_and_ends_what_runs() -> None:
    async with House("ab") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        house.at["b"].submit(job())
        house.clock.now += NANO
        late = house.at["a"].submit(job())
        (id_,) = pool.running()
        pool.finish(id_)
        await settle()
        assert pool.stopped, "b came before"
        assert late.dispatched_ns is None
        b = await house.arrive("b")
        b.finish(next(iter(b.running())))
        assert late.id in (await house.arrive("a")).running()


async def test_spare_work_leaves_its_slots_for_another_model_at_once() -> None:
    async with House("ab") as house:
        spare = house.at["a"].submit(job(spare=True))
        pool = await house.arrive("a")
        assert spare.id in pool.running()
        house.at["b"].submit(job())
        await settle()
        assert pool.asked_to_park == [spare.id]
        pool.yield_slot(spare.id)
        await settle()
        assert pool.stopped
        b = await house.arrive("b")
        b.finish(next(iter(b.running())))
        await settle()
        assert not b.stopped, "spare work evicts nothing that was just used"
        assert not spare.ended


async def test_spare_work_goes_on_when_its_model_comes_again() -> None:
    async with House("ab", keep_alive=10.0) as house:
        spare = house.at["a"].submit(job(spare=True))
        pool = await house.arrive("a")
        pool.begin(spare.id)
        tokens = pool.progress(spare.id, 3)
        house.at["b"].submit(job())
        await settle()
        pool.yield_slot(spare.id)
        b = await house.arrive("b")
        b.finish(next(iter(b.running())))
        await settle()
        house.clock.now += 11 * NANO
        house.loader.poke()
        await settle()
        assert b.stopped
        again = await house.arrive("a")
        assert again.running()[spare.id].resume == tokens
        again.finish(spare.id)
        assert spare.ended


async def test_a_load_that_fails_ends_those_who_wait_for_it_alone() -> None:
    async with House("ab") as house:
        failed, other = house.at["a"].submit(job(2.0)), house.at["b"].submit(job())
        visit = asyncio.create_task(house.loader.load("a"))
        await settle()
        house.made["a"][-1].start_now.set_exception(PoolFailed("no such tensor"))
        await settle()
        assert isinstance(failed.error, Unavailable)
        assert "'a' can't be loaded: no such tensor" in failed.error.message
        with pytest.raises(Unavailable, match="no such tensor"):
            await visit
        with pytest.raises(Unavailable, match="no such tensor"):
            house.at["a"].submit(job())
        await house.arrive("b")
        assert other.error is None
        assert other.dispatched_ns is not None


async def test_a_load_that_failed_is_not_tried_again_at_a_clients_word() -> None:
    async with House("a") as house:
        house.at["a"].submit(job())
        await settle()
        house.made["a"][-1].start_now.set_exception(PoolFailed("no such tensor"))
        await settle()
        for _ in range(3):
            with pytest.raises(Unavailable, match="no such tensor") as caught:
                await house.loader.load("a", "x")
            assert caught.value.retry_after == 1
            await settle()
        assert len(house.made["a"]) == 1, "it was tried once"
        again = asyncio.create_task(house.loader.load("a", again=True))
        await house.arrive("a")
        await again
        assert house.loader.state("a") == "loaded"


async def test_the_pause_is_told_as_long_as_it_is() -> None:
    async with House("a") as house:
        for tries in range(1, 4):
            load = asyncio.create_task(house.loader.load("a", again=True))
            await settle()
            assert len(house.made["a"]) == tries
            house.made["a"][-1].start_now.set_exception(PoolFailed("no such tensor"))
            with pytest.raises(Unavailable):
                await load
        with pytest.raises(Unavailable) as caught:
            await house.loader.load("a")
        assert caught.value.retry_after == 4


async def test_an_earlier_pause_does_not_end_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's request would wait for the next try, and so cause it."""
    loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()

    def call_later(delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        timers.append(asyncio.TimerHandle(loop.time() + delay, callback, args, loop))
        return timers[-1]

    async with House("a") as house:
        monkeypatch.setattr(loop, "call_later", call_later)
        for _ in range(3):
            load = asyncio.create_task(house.loader.load("a", again=True))
            await settle()
            house.made["a"][-1].start_now.set_exception(PoolFailed("no such tensor"))
            with pytest.raises(Unavailable):
                await load
        assert len(timers) == 3
        for timer in timers[:-1]:
            if not timer.cancelled():
                timer._run()
        with pytest.raises(Unavailable, match="no such tensor"):
            async with asyncio.timeout(DEADLINE_S):
                await house.loader.load("a")
        timers[-1]._run()
        house.clock.now += 60 * NANO
        again = asyncio.create_task(house.loader.load("a"))
        await house.arrive("a")
        await again


async def test_a_client_unloads_only_what_others_do_not_use() -> None:
    async with House("a", keep_alive=300.0) as house:
        mine = asyncio.create_task(house.loader.load("a", "x"))
        pool = await house.arrive("a")
        await mine
        ticket = house.at["a"].submit(job())
        await settle()
        with pytest.raises(ModelInUse):
            await house.loader.unload("a", "x")
        pool.finish(ticket.id)
        await settle()
        house.loader.used("a", "y", 10.0)
        with pytest.raises(ModelInUse):
            await house.loader.unload("a", "x")
        house.clock.now += 10 * NANO
        await house.loader.unload("a", "x")
        assert house.loader.state("a") == "unloaded"


async def test_the_operator_unloads_whatever_is_used() -> None:
    async with House("a", keep_alive=300.0) as house:
        load = asyncio.create_task(house.loader.load("a", "x"))
        await house.arrive("a")
        await load
        house.loader.used("a", "y", None)
        await house.loader.unload("a")
        assert house.loader.state("a") == "unloaded"


async def test_unloading_ends_when_what_runs_has_ended() -> None:
    async with House("a") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        gone = asyncio.create_task(house.loader.unload("a"))
        await settle()
        assert not gone.done()
        pool.finish(next(iter(pool.running())))
        await settle()
        assert gone.done()
        assert house.loader.state("a") == "unloaded"
        await house.loader.unload("a")


async def test_a_model_leaves_when_its_last_client_lets_it() -> None:
    """A load and a question are uses, too: those of no client that has a name."""
    async with House("a", keep_alive=300.0) as house:
        visit = asyncio.create_task(house.loader.load("a", "x"))
        await house.arrive("a")
        await visit
        async with house.loader.needed("a"):
            pass
        house.loader.used("a", "x", 0.0)
        await settle()
        assert house.loader.state("a") == "loaded", "the question's time is not over"
        house.loader.used("a", "", 0.0)
        await settle()
        assert house.loader.state("a") == "unloaded"


async def test_a_visitor_waits_no_longer_than_anybody_may() -> None:
    async with House("a", queue_timeout=0.01) as house:
        with pytest.raises(DeadlineExceeded):
            await house.loader.load("a")


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async with House("ab") as house:
        visit = asyncio.create_task(house.loader.load("a"))
        await settle()
        visit.cancel()
        await house.arrive("a")
        house.at["b"].submit(job())
        await house.arrive("b")
        assert house.loader.state("a") == "unloaded", "nobody used it"


async def test_the_end_comes_while_a_model_is_loaded() -> None:
    async with House("a") as house:
        house.at["a"].submit(job())
        await settle()
        assert house.loader.state("a") == "loading"


async def test_visits_keep_a_model_though_no_look_falls_into_them() -> None:
    async with House("ab") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        pool.finish(next(iter(pool.running())))
        await settle()
        house.clock.now += 100 * NANO
        async with house.loader.needed("a"):
            pass
        assert house.loader._policy.due_ns("a") is None
        used = house.loader._policy._models["a"].used_ns
        assert used == house.clock.now


async def test_a_yielding_model_lets_no_visitor_in() -> None:
    """Else questions, one after the other without a pause, would keep it for ever."""
    async with House("ab") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        house.at["b"].submit(job())
        house.clock.now += NANO
        await settle()
        visit = asyncio.create_task(house.loader.load("a"))
        await settle()
        assert not visit.done(), "b came before"
        pool.finish(next(iter(pool.running())))
        await settle()
        assert pool.stopped
        b = await house.arrive("b")
        b.finish(next(iter(b.running())))
        await settle()
        await house.arrive("a")
        await visit


async def test_a_visitor_is_let_in_when_its_model_need_not_yield_any_more() -> None:
    async with House("ab") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        other = house.at["b"].submit(job())
        house.clock.now += NANO
        await settle()
        visit = asyncio.create_task(house.loader.load("a"))
        await settle()
        house.at["b"].cancel(other)
        await settle()
        assert visit.done()
        pool.finish(next(iter(pool.running())))


class Newcomer:
    """A model of unknown need, added while the others are at work."""

    def __init__(self, house: House, need: Callable[[], LoadNeed]) -> None:
        house.made["new"] = []
        pool = SwappablePool(lambda: house._make("new"), ())
        self.dispatcher = Dispatcher(pool, 0.2, house.clock, Ends(), changed=house.loader.poke)
        house.loader.add(Resident("new", need, None, pool), self.dispatcher)
        house.at["new"] = self.dispatcher
        house._tasks.append(asyncio.create_task(self.dispatcher.run()))


async def measured(house: House) -> None:
    """Wait for the thread that measures."""
    for _ in range(int(1000 * DEADLINE_S)):
        if house.loader.need("new") is not None or house.loader.state("new") == "failed":
            break
        await asyncio.sleep(0.001)
    await settle()


async def test_a_newcomer_is_measured_and_loaded() -> None:
    asked = list[int]()

    def need() -> LoadNeed:
        asked.append(1)
        return LoadNeed(60)

    async with House("a") as house:
        new = Newcomer(house, need)
        await settle()
        assert asked == [], "no request waits for it"
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        ticket = new.dispatcher.submit(job())
        house.clock.now += NANO
        await settle()
        await measured(house)
        pool.finish(next(iter(pool.running())))
        await settle()
        assert ticket.id in (await house.arrive("new")).running()
        assert asked == [1]
        assert house.loader.need("new") == 60


async def test_a_newcomer_that_never_fits_fails_its_own_requests() -> None:
    def need() -> LoadNeed:
        raise ConfigError("the model needs more than there is")

    async with House("a") as house:
        new = Newcomer(house, need)
        ticket = new.dispatcher.submit(job())
        await settle()
        await measured(house)
        assert isinstance(ticket.error, Unavailable)
        assert "more than there is" in ticket.error.message
        house.at["a"].submit(job())
        assert (await house.arrive("a")).running()
        assert house.loader.remove("new"), "nothing waits for it any more"
        assert house.loader.state("new") == "unloaded"


async def test_a_model_with_work_is_not_forgotten() -> None:
    async with House("a") as house:
        new = Newcomer(house, lambda: LoadNeed(10))
        ticket = new.dispatcher.submit(job())
        assert not house.loader.remove("new")
        await settle()
        await measured(house)
        assert not house.loader.remove("new")
        pool = await house.arrive("new")
        pool.finish(ticket.id)
        await settle()
        assert not house.loader.remove("new"), "it is loaded"
        await house.loader.unload("new")
        assert house.loader.remove("new")
        with pytest.raises(Unavailable, match="no more"):
            await house.loader.load("new")
        assert house.loader.expires_s("new") is None
        assert house.loader.need("new") is None
