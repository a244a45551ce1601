"""A dispatcher at work, with everything around it in memory."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.ticket import Ticket
from gateway.served.always_loaded import AlwaysLoaded
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel
from gateway.telemetry.metrics.models import Loads, ModelLabels
from gateway.telemetry.metrics.registry import Registry as MetricRegistry
from tests.support.memory_pool import Clock, Ends, MemoryPool, ids, job


class Desk:
    """A dispatcher with its loop running, and everything around it."""

    def __init__(self, *slots: int, rate: float = 0.2) -> None:
        self.pool = MemoryPool(*slots)
        self.clock = Clock()
        self.ends = Ends()
        self.metered: list[tuple[int, int | None]] = []
        """Tokens that came, and how long after those before."""
        self.dispatcher = Dispatcher(
            self.pool, rate, self.clock, self.ends, meter=lambda job: self._hear
        )
        self.pool.attach(self.dispatcher)
        loads = Loads(MetricRegistry(), ModelLabels(["m"]))
        self.loader = AlwaysLoaded("m", self.pool, self.clock, loads, Config(alias="m"))
        entry = ModelEntry(Config(alias="m"))
        self.registry = ModelRegistry([ServedModel(entry, self.dispatcher, self.pool, self.loader)])

    def submit(self, priority: float = 1.0) -> Ticket:
        return self.dispatcher.submit(job(priority))

    def _hear(self, tokens: int, gap_ns: int | None) -> None:
        self.metered.append((tokens, gap_ns))

    async def settle(self) -> list[int]:
        """Let the loop do what it can; the ids that reached a worker so far."""
        for _ in range(3):
            await asyncio.sleep(0)
        return [request.id for request in self.pool.submitted]

    def run(self, script: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            loop = asyncio.create_task(self.dispatcher.run())
            await script()
            assert not loop.done(), "the dispatch loop must outlive everything"
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

        asyncio.run(main())
        assert len(self.ends.tickets) == len(set(ids(self.ends.tickets))), "ended twice"
