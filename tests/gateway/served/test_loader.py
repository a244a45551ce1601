"""Loading and unloading with pools that the test plays: what must hold at every await."""

import asyncio

import pytest

from gateway.core.clock import NANO
from gateway.core.errors import DeadlineExceeded, ModelInUse
from tests.support.loader_house import House, settle
from tests.support.memory_pool import job

pytestmark = pytest.mark.anyio


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
        load = asyncio.create_task(house.loader.load("a", "x"))
        await house.arrive("a")
        await load
        async with house.loader.needed("a"):
            pass
        house.loader.used("a", "x", 0.0)
        await settle()
        assert house.loader.state("a") == "loaded", "the question's time is not over"
        house.loader.used("a", "", 0.0)
        await settle()
        assert house.loader.state("a") == "unloaded"


async def test_a_load_waits_no_longer_than_the_queue_timeout() -> None:
    async with House("a", queue_timeout=0.01) as house:
        with pytest.raises(DeadlineExceeded):
            await house.loader.load("a")


async def test_a_load_that_is_cancelled_leaves_nothing_behind() -> None:
    async with House("ab") as house:
        load = asyncio.create_task(house.loader.load("a"))
        await settle()
        load.cancel()
        await house.arrive("a")
        house.at["b"].submit(job())
        await house.arrive("b")
        assert house.loader.state("a") == "unloaded", "nobody used it"


async def test_the_end_comes_while_a_model_is_loaded() -> None:
    async with House("a") as house:
        house.at["a"].submit(job())
        await settle()
        assert house.loader.state("a") == "loading"


async def test_uses_keep_a_model_though_no_look_falls_into_them() -> None:
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


async def test_a_yielding_model_admits_no_load() -> None:
    """Else questions, one after the other without a pause, would keep it for ever."""
    async with House("ab") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        house.at["b"].submit(job())
        house.clock.now += NANO
        await settle()
        load = asyncio.create_task(house.loader.load("a"))
        await settle()
        assert not load.done(), "b came before"
        pool.finish(next(iter(pool.running())))
        await settle()
        assert pool.stopped
        b = await house.arrive("b")
        b.finish(next(iter(b.running())))
        await settle()
        await house.arrive("a")
        await load


async def test_a_load_is_admitted_when_its_model_need_not_yield_any_more() -> None:
    async with House("ab") as house:
        house.at["a"].submit(job())
        pool = await house.arrive("a")
        other = house.at["b"].submit(job())
        house.clock.now += NANO
        await settle()
        load = asyncio.create_task(house.loader.load("a"))
        await settle()
        house.at["b"].cancel(other)
        await settle()
        assert load.done()
        pool.finish(next(iter(pool.running())))
