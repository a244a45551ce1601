"""Models that are added to a loader at work, and removed again."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.config.config import ConfigError
from gateway.core.clock import NANO
from gateway.core.errors import Unavailable
from gateway.dispatch.dispatcher import Dispatcher
from gateway.served.resident import LoadNeed, Resident
from gateway.served.swappable_pool import SwappablePool
from tests.support.loader_house import House, settle
from tests.support.memory_pool import Ends, job
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio


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
