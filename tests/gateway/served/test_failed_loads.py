"""Loads that fail: what requests are told, and when the next try may be."""

import asyncio
from typing import Any

import pytest

from gateway.core.clock import NANO
from gateway.core.errors import Unavailable
from gateway.pool import PoolFailed
from tests.support.loader_house import House, settle
from tests.support.memory_pool import job
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio


async def test_a_load_that_fails_ends_those_who_wait_for_it_alone() -> None:
    async with House("ab") as house:
        failed, other = house.at["a"].submit(job(2.0)), house.at["b"].submit(job())
        load = asyncio.create_task(house.loader.load("a"))
        await settle()
        house.made["a"][-1].start_now.set_exception(PoolFailed("no such tensor"))
        await settle()
        assert isinstance(failed.error, Unavailable)
        assert "'a' can't be loaded: no such tensor" in failed.error.message
        with pytest.raises(Unavailable, match="no such tensor"):
            await load
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
