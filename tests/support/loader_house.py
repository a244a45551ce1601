"""A loader of models whose pools the test plays."""

import asyncio
from collections.abc import Iterable

from gateway.dispatch.dispatcher import Dispatcher
from gateway.pool import Listener
from gateway.served.loader import ModelLoader
from gateway.served.resident import LoadNeed, Resident
from gateway.served.swappable_pool import SwappablePool
from gateway.telemetry.metrics.models import Loads, ModelLabels
from gateway.telemetry.metrics.registry import Registry
from tests.support.memory_pool import Clock, Ends, MemoryPool


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
