"""Memory for other workers of a model that is loaded: beside the old ones, or in their places."""

import pytest

from gateway.config.config import Config, NotNow
from gateway.config.model_entry import ModelEntry
from gateway.pool import PoolFailed, ResizablePool
from gateway.served.resident import LoadNeed, Resident
from gateway.served.revision import Revision
from gateway.served.swappable_pool import SwappablePool
from tests.support.loader_house import House, SlowPool, settle
from tests.support.memory_pool import job

pytestmark = pytest.mark.anyio


class Resizable(SlowPool):
    """Its workers can be ended one by one, as far as the loader asks."""

    size = capacity = 1

    def begin_with(self, count: int) -> None:
        raise AssertionError("no test gets so far")

    async def hold(self) -> None:
        raise AssertionError("no test gets so far")

    def resume(self) -> None:
        raise AssertionError("no test gets so far")

    async def shrink(self) -> None:
        raise AssertionError("no test gets so far")

    def grow(self) -> None:
        raise AssertionError("no test gets so far")


async def loaded(house: House, name: str) -> None:
    house.at[name].submit(job())
    pool = await house.arrive(name)
    pool.finish(next(iter(pool.running())))
    await settle()
    assert house.loader.state(name) == "loaded"


async def test_one_that_is_not_loaded_needs_no_room() -> None:
    async with House(["a"]) as house:
        assert await house.loader.make_room("a", Config(), LoadNeed(40)) is None


async def test_beside_where_the_budget_has_it() -> None:
    """60 of 100 are taken: 40 more are there, and kept from others until they are given back."""
    async with House(["a", "b"]) as house:
        await loaded(house, "a")
        room = await house.loader.make_room("a", Config(), LoadNeed(40))
        assert room is not None
        assert (room.beside, room.size) == (True, 40)
        house.at["b"].submit(job())
        await settle()
        assert house.made["b"] == [], "neither the memory of a is free, nor what was kept"
        house.loader.unpin("a")
        house.loader.give_back("a", room)
        await settle()
        assert house.loader.state("a") == "unloaded", "now it makes room for b"


async def test_idle_models_make_room() -> None:
    async with House(["a", "b"]) as house:
        await loaded(house, "a")
        house.loader._policy.change("b", 30, None)
        await loaded(house, "b")
        room = await house.loader.make_room("a", Config(), LoadNeed(40))
        assert room is not None
        assert room.beside
        assert house.loader.state("b") == "unloaded"


async def test_without_room_worker_by_worker_if_the_pool_can() -> None:
    async with House(["a"]) as house:
        await loaded(house, "a")
        with pytest.raises(NotNow, match="would be free"):
            await house.loader.make_room("a", Config(), LoadNeed(70))
        house.made["a"].append(Resizable())
        assert isinstance(house.made["a"][-1], ResizablePool)
        house.made["a"][-1].stopped = True
        kept = house.loader._kept["a"]
        kept.pool._pool = house.made["a"][-1]
        room = await house.loader.make_room("a", Config(), LoadNeed(70))
        assert room is not None
        assert (room.beside, room.size) == (False, 10), "the old ones' 60 come to it"
        house.loader.give_back("a", room)
        house.made["a"][0].stopped = True


async def test_the_new_workers_take_the_place_of_the_old() -> None:
    async with House(["a"]) as house:
        await loaded(house, "a")
        room = await house.loader.make_room("a", Config(), LoadNeed(30))
        assert room is not None
        old = house.loader._kept["a"].pool
        pool = SwappablePool(lambda: house._make("a"), ())
        entry = ModelEntry(Config(alias="a"), keep_alive=5.0)
        house.loader.replaced("a", Revision(entry, house.at["a"], pool), LoadNeed(30), room)
        assert (house.loader.need("a"), room.size) == (30, 60), "the old ones go, and have 60"
        await old.stop()
        house.loader.give_back("a", room)
        assert house.loader._policy.reserve(70)
        assert not house.loader._policy.reserve(1)


async def test_settings_of_one_that_is_not_loaded_count_from_its_next_load() -> None:
    async with House(["a"]) as house:
        pool = house.loader._kept["a"].pool
        house.at["a"].submit(job())
        await settle()
        house.made["a"][-1].start_now.set_exception(PoolFailed("damaged"))
        await settle()
        assert house.loader.state("a") == "failed"
        house.loader.change(Resident("a", LoadNeed(90), None, pool))
        assert house.loader.state("a") == "unloaded"
        assert (house.loader.need("a"), pool.trouble) == (90, None)
