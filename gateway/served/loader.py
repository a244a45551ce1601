"""Load and unload models, as :mod:`gateway.served.load_policy` decides."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace

from gateway.config.config import Config, ConfigError, NotNow
from gateway.core.clock import NANO
from gateway.core.errors import (
    DeadlineExceeded,
    ForgeError,
    ModelInUse,
    QueueFull,
    Unavailable,
)
from gateway.core.priority import NORMAL
from gateway.dispatch.dispatcher import Dispatcher
from gateway.pool import Pool, PoolFailed
from gateway.served import cluster_pools
from gateway.served.load_policy import Facts, LoadPolicy, Reason, State
from gateway.served.protocols import LoadObserver, Room
from gateway.served.resident import KeptModel, LoadNeed, Resident, no_more
from gateway.served.revision import Revision, can_shrink, no_room
from gateway.served.swappable_pool import SwappablePool
from gateway.served.worker_notes import tell

log = logging.getLogger("forge.models")

MOST_WAITING = 64
"""Most requests that may wait for a model outside of its queue."""


class ModelLoader:
    """Implement :class:`gateway.served.protocols.Loader` for models that share memory.

    One task decides; each load and unload is a task of its own.
    """

    on_demand = True

    def __init__(
        self,
        budget: int,
        residents: Sequence[Resident],
        clock_ns: Callable[[], int],
        observer: LoadObserver,
        queue_timeout: float | None,
    ) -> None:
        """``budget``: bytes for all models together. ``queue_timeout``: as a dispatcher's."""
        self.budget = budget
        self._clock_ns = clock_ns
        self._observer = observer
        self._queue_timeout = queue_timeout
        self._residents = {resident.name: resident for resident in residents}
        self._policy = LoadPolicy(budget, {})
        self._kept: dict[str, KeptModel] = {}
        self._news = asyncio.Event()
        self._bug: BaseException | None = None

    def begin(self, dispatchers: Mapping[str, Dispatcher]) -> None:
        """Take the dispatcher of each model; they are made later, with :meth:`poke`."""
        for name, dispatcher in dispatchers.items():
            self.add(self._residents[name], dispatcher)

    def add(self, resident: Resident, dispatcher: Dispatcher) -> None:
        """Take one model more, whenever it comes."""
        self._policy.add(resident.name, resident.known_need, resident.keep_alive_ns)
        resident.pool.listen(dispatcher)
        self._kept[resident.name] = KeptModel(resident, dispatcher)

    # ------------------------------------------------------------------ other workers

    async def make_room(self, name: str, config: Config, need: LoadNeed) -> Room | None:
        """Implement the protocol; models without work make room, as they would for another."""
        kept = self._there(name)
        while kept.task is not None and not kept.task.done():
            await asyncio.wait({kept.task})
        if self.state(name) != "loaded":
            return None
        self._policy.pin(name)
        try:
            return await self._reserve(name, config, need)
        except BaseException:
            self._policy.unpin(name)
            raise

    async def _reserve(self, name: str, config: Config, need: LoadNeed) -> Room:
        size, old = min(need.bytes, self.budget), self._policy.takes(name)
        if config.cluster is not None:
            beside = await cluster_pools.beside(config, self._kept[name].pool)
            size = size if beside else 0
            self._policy.reserve(size)  # nodes are boundless
            return Room(beside, size)
        await self._evict(name, size)
        if self._policy.reserve(size):
            return Room(True, size)
        more = max(0, size - old)
        await self._evict(name, more)
        if not can_shrink(self._kept[name].pool) or not self._policy.reserve(more):
            raise NotNow(no_room(size, size - self._policy.short_of(more)))
        return Room(False, more)

    async def _evict(self, name: str, size: int) -> None:
        """Unload models without work, if these are enough for ``size`` bytes beside ``name``."""
        for each in self._policy.evictable(name, self._policy.short_of(size)):
            await self.unload(each)

    def replaced(self, name: str, revision: Revision, need: LoadNeed, room: Room) -> None:
        """Note that a model has other workers now."""
        kept = self._kept[name]
        assert isinstance(revision.pool, SwappablePool), "they come and go"
        resident = Resident(name, need, revision.entry.keep_alive, revision.pool)
        kept.take(resident, revision.dispatcher)
        self._policy.keep(name, resident.keep_alive_ns)
        after = self._policy.takes(name) if room.beside else 0
        self._policy.replaced(name, need.bytes, room.size, after)
        room.size = after
        kept.admit()
        self.poke()

    def give_back(self, name: str, room: Room) -> None:
        """End the use of memory that was kept."""
        self._policy.give_back(room.size)
        room.size = 0
        self.poke()

    def unpin(self, name: str) -> None:
        """Let the model be unloaded again: its workers are not replaced any more."""
        self._policy.unpin(name)
        self.poke()

    def change(self, resident: Resident) -> None:
        """Take other settings of a model that is not loaded: the next load is with these."""
        kept = self._kept[resident.name]
        kept.resident = resident
        kept.pool.failure = None
        self._policy.change(resident.name, resident.known_need, resident.keep_alive_ns)
        self.poke()

    def keep(self, name: str, keep_alive_s: float | None) -> None:
        """Keep a model for so long without work, from now on."""
        kept = self._kept[name]
        kept.resident = replace(kept.resident, keep_alive_s=keep_alive_s)
        self._policy.keep(name, kept.resident.keep_alive_ns)
        self.poke()

    def remove(self, name: str) -> bool:
        """Forget a model; False if it is loaded, or a request waits for it or for its end."""
        kept = self._kept[name]
        idle = kept.facts() == Facts() and not kept.unload_waits
        busy = kept.task is not None and not kept.task.done()
        if not idle or busy or self.state(name) not in ("unloaded", "failed"):
            return False
        self._policy.remove(name)
        del self._kept[name]
        return True

    def poke(self) -> None:
        """Decide again soon: a queue or a slot has changed."""
        self._news.set()

    def state(self, name: str) -> State:
        """Return whether a model is loaded."""
        return self._policy.state(name)

    # ------------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Load and unload as decided, until the task is cancelled. Raises only after a bug."""
        while True:
            self._news.clear()
            if self._bug is not None:
                raise self._bug
            wake_ns = self._decide()
            with contextlib.suppress(TimeoutError):
                pause = None if wake_ns is None else max(0, wake_ns - self._clock_ns()) / NANO
                async with asyncio.timeout(pause):
                    await self._news.wait()

    def _decide(self) -> int | None:
        """Begin loads and unloads; return when to decide again at the latest, in ns.

        In one turn of the event loop: no request gets a slot between a look and its consequence.
        """
        facts = {name: kept.facts() for name, kept in self._kept.items()}
        decision = self._policy.decide(self._clock_ns(), facts)
        for name, kept in self._kept.items():
            kept.yields = name in decision.yields
            if kept.yields:
                kept.dispatcher.hold()
            else:
                kept.dispatcher.release()
                if self.state(name) == "loaded":
                    kept.admit()
        for name, reason in decision.unload:
            kept = self._kept[name]
            pool = kept.pool.detach()
            self._begin(kept, self._unload(kept, pool, reason))
        for name in decision.give_up:
            kept = self._kept[name]
            assert kept.task is not None, "it loads"
            kept.task.cancel()
            self._begin(kept, self._given_up(kept, kept.task))
        for name in decision.measure:
            kept = self._kept[name]
            self._begin(kept, self._measure(kept))
        for name in decision.load:
            kept = self._kept[name]
            self._begin(kept, self._load(kept))
        if decision.load or any(kept.pool.starts_on_nodes for kept in self._kept.values()):
            decision.wake(self._clock_ns() + NANO)  # no node may have a place for it
        return decision.wake_ns

    def _begin(self, kept: KeptModel, work: Coroutine[None, None, None]) -> None:
        kept.task = asyncio.create_task(work)
        kept.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Raise a bug of a task in :meth:`run`: unnoticed, requests would wait for ever."""
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()
            self.poke()

    async def _measure(self, kept: KeptModel) -> None:
        name, measure = kept.resident.name, kept.resident.need
        assert not isinstance(measure, LoadNeed), "it is known"
        try:
            need = await asyncio.to_thread(measure)
        except (ConfigError, OSError) as error:
            self._failed(kept, f"the model '{name}' can't be loaded: {error}")
            return
        kept.resident = replace(kept.resident, need=need)
        self._policy.measured(name, need.bytes)
        self.poke()

    async def _load(self, kept: KeptModel) -> None:
        name, began_ns = kept.resident.name, self._clock_ns()
        known = kept.pool.model is not None
        kept.pool.failure = None
        need = kept.resident.need
        assert isinstance(need, LoadNeed), "it was measured"
        try:
            need.check()
            await kept.pool.load()
        except (PoolFailed, ConfigError) as error:
            self._failed(kept, f"the model '{name}' can't be loaded: {error}")
            return
        now_ns = self._clock_ns()
        self._policy.loaded(name, now_ns)
        self._observer.loaded(name, now_ns - began_ns)
        log.info("model %s: loaded in %.2f s", name, (now_ns - began_ns) / NANO)
        if not known:
            tell(name, kept.pool.model)
        kept.admit()
        self.poke()

    def _failed(self, kept: KeptModel, reason: str) -> None:
        """Fail the requests that wait for this model; it is tried again after a pause."""
        name = kept.resident.name
        log.error("%s", reason)
        self._observer.failed(name)
        now_ns = self._clock_ns()
        self._policy.failed(name, now_ns)
        pause_s = self._pause_s(name)
        kept.pool.failure = reason
        if kept.pause is not None:
            kept.pause.cancel()  # an earlier one must not end this one
        kept.pause = asyncio.get_running_loop().call_later(pause_s, self._forget_failure, kept)
        kept.dispatcher.abandon(reason, retry_after=max(1, math.ceil(pause_s)))
        kept.fail_waiting(Unavailable(reason, retry_after=max(1, math.ceil(pause_s))))
        kept.tell_unloaded()
        self.poke()

    def _pause_s(self, name: str) -> float:
        """Return the seconds until a load that failed may be tried again."""
        now_ns = self._clock_ns()
        return max(0, (self._policy.retry_ns(name) or now_ns) - now_ns) / NANO

    def _forget_failure(self, kept: KeptModel) -> None:
        """Let new requests wait for another try."""
        kept.pool.failure = None

    async def _unload(self, kept: KeptModel, pool: Pool | None, reason: Reason) -> None:
        name = kept.resident.name
        if pool is not None:
            await pool.stop()
        self._policy.unloaded(name)
        self._observer.unloaded(name, reason)
        log.info("model %s: unloaded (%s)", name, reason)
        kept.tell_unloaded()
        self.poke()

    async def _given_up(self, kept: KeptModel, load: asyncio.Task[None]) -> None:
        """Forget a load that was cancelled, and leaves nothing behind."""
        name = kept.resident.name
        await asyncio.wait({load})
        self._policy.unloaded(name)
        log.info("model %s: nothing waits for it any more, and no node had a place", name)
        kept.tell_unloaded()
        self.poke()

    # ------------------------------------------------------------------ use of a model

    def used(self, name: str, client: str, keep_alive_s: float | None) -> None:
        """Note the end of a request, which wants the model kept for so long; None: as usual."""
        keep_ns = None if keep_alive_s is None else round(keep_alive_s * NANO)
        if name in self._kept:  # it may have been removed
            self._policy.used(name, client, self._clock_ns(), keep_ns)
            self.poke()

    @contextlib.asynccontextmanager
    async def needed(self, name: str, client: str = "") -> AsyncIterator[None]:
        """Keep the model loaded inside the context; it waits like a request of normal priority.

        Raises a ForgeError: Unavailable if it can't be loaded, QueueFull, or DeadlineExceeded after
        the operator's --queue-timeout.
        """
        kept = self._there(name)
        await self._begin_use(kept)
        try:
            yield
        finally:
            kept.using -= 1
            self.used(name, client, None)

    def _there(self, name: str) -> KeptModel:
        """Return a model. Raises Unavailable if it was removed while a request had it in hand."""
        kept = self._kept.get(name)
        if kept is None:
            raise Unavailable(no_more(name), retry_after=1)
        return kept

    async def _begin_use(self, kept: KeptModel) -> None:
        if self.state(kept.resident.name) == "loaded" and not kept.yields:
            kept.using += 1
            return
        if kept.pool.failure is not None:
            pause_s = self._pause_s(kept.resident.name)
            raise Unavailable(kept.pool.failure, retry_after=max(1, math.ceil(pause_s)))
        if len(kept.waiting) >= MOST_WAITING:
            raise QueueFull("too many requests wait for this model to be loaded", retry_after=1)
        admitted = asyncio.get_running_loop().create_future()
        kept.waiting[admitted] = kept.dispatcher.stats.key(NORMAL)
        self.poke()
        try:
            async with asyncio.timeout(self._queue_timeout):
                await admitted
        except BaseException as error:  # its time is over, its load failed, or its client hung up
            kept.waiting.pop(admitted, None)
            if admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                kept.using -= 1  # it was admitted just now
            self.poke()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded("the model was not loaded in time") from None
            raise

    def expires_s(self, name: str) -> float | None:
        """Return the seconds until a model is unloaded if no work comes; None: never."""
        due_ns = self._policy.due_ns(name) if name in self._kept else None
        return None if due_ns is None else max(0, due_ns - self._clock_ns()) / NANO

    def need(self, name: str) -> int | None:
        """Return the bytes that a model takes; None while they are not known."""
        return self._kept[name].resident.known_need if name in self._kept else None

    async def load(self, name: str, client: str = "", *, again: bool = False) -> None:
        """Return when the model is loaded. Raises as :meth:`needed`.

        ``again``: also within the pause after a load that failed. That is for the operator: each
        try takes processes and memory, and a client could ask for one after the other.
        """
        if again:
            self._there(name).pool.failure = None
            self._policy.retry(name)
        async with self.needed(name, client):
            pass

    async def unload(self, name: str, client: str | None = None) -> None:
        """Return when the model is unloaded, after its running requests have ended.

        ``client`` None: whatever uses it. For another one, ModelInUse while others count on it.
        """
        if self.state(name) in ("unloaded", "failed"):
            return
        if client is not None:
            self._check_alone(name, client)
        unloaded = asyncio.get_running_loop().create_future()
        self._kept[name].unload_waits.append(unloaded)
        self._policy.leave(name)
        self.poke()
        await unloaded

    def _check_alone(self, name: str, client: str) -> None:
        """Raises ModelInUse if the model has work, or another client has used it lately."""
        if self._kept[name].facts() != Facts() or self._policy.others_keep(
            name, client, self._clock_ns()
        ):
            raise ModelInUse(f"other clients use the model '{name}'; it stays for their time")

    async def start(self, preload: Sequence[str]) -> None:
        """Load some models; one that can't be loaded is logged, and the others are served."""
        tried = await asyncio.gather(*map(self.load, preload), return_exceptions=True)
        for result in tried:
            if isinstance(result, BaseException) and not isinstance(result, ForgeError):
                raise result

    # ------------------------------------------------------------------ the end

    async def stop(self) -> None:
        """Return when no worker process is left. :meth:`run` must have ended."""
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        for kept in self._kept.values():
            if kept.task is not None and self.state(kept.resident.name) == "loading":
                kept.task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(kept.pool.stop() for kept in self._kept.values()))
