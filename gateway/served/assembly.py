"""All models of a server, put together: queues, pools, loader and registry, and their life."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from gateway.config.config import Config
from gateway.config.live_config import LiveConfig
from gateway.config.model_entry import ModelEntry
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.dispatch.observer import Observer
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.dispatch.stats import Totals
from gateway.dispatch.ticket import Meter
from gateway.ordering.admission import Bounds
from gateway.ordering.preemption import PreemptionRules
from gateway.pool import Pool
from gateway.pool.entry import spare_engine
from gateway.pool.local import LocalPool
from gateway.served import cluster_pools
from gateway.served.adapter_changes import AdapterChanges
from gateway.served.always_loaded import AlwaysLoaded
from gateway.served.catalog_models import CatalogModels
from gateway.served.changing import ModelChanger
from gateway.served.copied_names import CopiedNames, usual_file
from gateway.served.dispatchers import Dispatchers
from gateway.served.first_look import FirstLook
from gateway.served.loader import ModelLoader
from gateway.served.memory_budget import MemoryBudget
from gateway.served.protocols import Loader, LoadObserver
from gateway.served.registry import ModelRegistry
from gateway.served.resident import LoadNeed, Resident, no_more
from gateway.served.served_model import ServedModel
from gateway.served.swappable_pool import SwappablePool


class ModelAssembly:
    """The models, and the tasks without which their requests would wait for ever."""

    def __init__(
        self,
        config: Config,
        observer: Observer,
        loads: LoadObserver,
        meter: Callable[[Job], Meter] | None,
        pool: Pool | None = None,
        plan: MemoryBudget | None = None,
        make: Callable[[Config, int], Pool] | None = None,
        live: LiveConfig | None = None,
    ) -> None:
        """``plan``: several models, instead of the one.

        ``pool`` replaces the local pool of processes, ``make`` those of several models, and those
        that a reload brings.
        """
        self._config = config
        self._observer = observer
        self._meter = meter
        self.live = live or LiveConfig(config)
        self._shared_admission = SharedAdmission(Bounds(config.max_queue, config.max_queue_bytes))
        self._dispatchers = Dispatchers(self._dispatcher)
        self.loader: Loader
        self._cluster = cluster_pools.membership(config)
        self._make = make or self._maker()
        if plan is None:
            entries, pools = [ModelEntry(config)], [pool or self._make(config, 0)]
            clock = time.monotonic_ns
            self.loader = AlwaysLoaded(entries[0].name, pools[0], clock, loads, config)
        else:
            residents = _residents(plan, self._make)
            entries = [share.entry for share in plan.shares]
            pools = [resident.pool for resident in residents]
            self.loader = ModelLoader(
                plan.budget, residents, time.monotonic_ns, loads, config.queue_timeout
            )
        configured = list(map(self._served, entries, pools))
        self.catalog = None if plan is None or not config.catalog else self._catalog(plan.budget)
        self.registry = ModelRegistry(
            configured,
            CopiedNames(usual_file()),
            (lambda name: None) if self.catalog is None else self.catalog.find,
        )
        self.adapters = AdapterChanges(self.registry, config.lora_dir)
        self.loader.begin({each.name: each.dispatcher for each in configured})
        self.changer = ModelChanger(
            self.live,
            self.registry,
            self.loader,
            self._dispatchers,
            self._shared_admission,
            self._numbered,
            self._added,
            loads,
            self.adapters,
        )

    def _maker(self) -> Callable[[Config, int], Pool]:
        """Return what makes a model's workers, by their options and the first one's number."""
        if self._cluster is None:
            return partial(local_pool, look=FirstLook(os.environ, self._busy))
        return partial(cluster_pools.cluster_pool, cluster=self._cluster)

    def _busy(self) -> bool:
        """Return whether any model computes something."""
        return any(served.dispatcher.stats.running() for served in self.registry.models)

    def _served(self, entry: ModelEntry, pool: Pool) -> ServedModel:
        """A model with a dispatcher of its own."""
        return ServedModel(entry, self._dispatchers.add(pool), pool, self.loader)

    def _dispatcher(self, pool: Pool, totals: Totals | None) -> Dispatcher:
        config = self._config
        return Dispatcher(
            pool,
            config.aging_rate,
            time.monotonic_ns,
            self._observer,
            shared_admission=self._shared_admission,
            queue_timeout=config.queue_timeout,
            preemption=PreemptionRules(config.quantum, config.aging_rate)
            if config.preempt == "on"
            else None,
            meter=self._meter,
            changed=self.loader.poke,
            totals=totals,
        )

    # ------------------------------------------------------------------ models of the catalog

    def _catalog(self, budget: int) -> CatalogModels:
        return CatalogModels(
            self._config, budget, self._adopt, self._retire, lambda: self.registry.configured
        )

    def _adopt(self, entry: ModelEntry, measure: Callable[[], LoadNeed]) -> ServedModel:
        """Begin to serve one model more, which is loaded when a request waits for it."""
        served = self._added(entry, measure)
        self.registry.add(served)
        return served

    def _added(self, entry: ModelEntry, need: LoadNeed | Callable[[], LoadNeed]) -> ServedModel:
        assert isinstance(self.loader, ModelLoader), "one model alone is always loaded"
        pool = SwappablePool(partial(self._numbered, entry.config), ())
        served = self._served(entry, pool)
        self.loader.add(Resident(entry.name, need, entry.keep_alive, pool), served.dispatcher)
        return served

    def _retire(self, served: ServedModel) -> bool:
        """End that; False if it is loaded, or has work."""
        assert isinstance(self.loader, ModelLoader), "one model alone is always loaded"
        if served.outgoing or not self.loader.remove(served.name):
            return False
        # A request that has it in its hands must not wait there.
        served.dispatcher.drain(no_more(served.name))
        self.registry.remove(served)
        self._dispatchers.remove(served.dispatcher)
        return True

    def _numbered(self, config: Config) -> Pool:
        """Make a pool whose workers have the lowest numbers that none has now."""
        count = cluster_pools.most(config)
        taken, first = {*self.registry.worker_numbers()}, 0
        while taken & {*range(first, first + count)}:
            first += 1
        return self._make(config, first)

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Return when the first models are loaded; requests may queue before.

        Raises PoolFailed if the server can't go on without one: see the two loaders.
        """
        await self.changer.look()
        self._dispatchers.start(self.loader.run())
        await self.adapters.start()
        await self.loader.start([each.name for each in self.registry.models if each.preload])

    async def broken(self) -> None:
        """Wait for a bug to end a dispatch loop, and raise it: some would be served no more.

        To be called after :meth:`start`.
        """
        await self._dispatchers.broken()

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish the rest; after ``timeout`` seconds give it up."""
        await self._dispatchers.drain(timeout)

    def abandon(self) -> None:
        """Fail all requests that are still served or wait: the server ends now."""
        self._dispatchers.abandon()

    async def stop(self) -> None:
        """End the loops, then the workers."""
        await self._dispatchers.stop()  # a loader would load another model now
        await self.changer.stop()
        await self.loader.stop()
        for served in self.registry.models:  # a replacement may have been given up
            await asyncio.gather(*(each.pool.stop() for each in served.revisions))
        self.adapters.close()
        if self._cluster is not None:
            await self._cluster.stop()


def _residents(plan: MemoryBudget, make: Callable[[Config, int], Pool]) -> Sequence[Resident]:
    """Models that are loaded and unloaded; their workers are numbered one model after another."""
    first, residents = 0, list[Resident]()
    for share in plan.shares:
        entry, count = share.entry, cluster_pools.most(share.entry.config)
        numbers = range(first, first + count)
        first += count
        pool = SwappablePool(partial(make, entry.config, numbers.start), numbers)
        need = LoadNeed(share.need, share.check)
        residents.append(Resident(entry.name, need, entry.keep_alive, pool))
    return residents


def local_pool(config: Config, first: int = 0, *, look: FirstLook) -> LocalPool:
    """Processes of this machine; ``first`` is the number of the first one."""
    return LocalPool(
        config.worker_spec(),
        config.shape().workers,
        silence_s=config.stuck_timeout,
        step_s=config.step_timeout,
        spare=spare_engine if config.spare else None,
        first=first,
        settle=partial(look, config),
    )
