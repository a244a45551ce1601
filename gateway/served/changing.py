"""Changes of the models of a server that runs, as a reload finds them.

A model gets new workers if what these are made of is different: its file, by path or by content, or
an option that they have. Otherwise its settings are taken as they are, and its workers stay. One
that is not loaded takes all of it with its next load.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.config.config import Config, ConfigError
from gateway.config.live_config import LiveConfig
from gateway.config.model_entry import ModelEntry
from gateway.config.model_tables import PER_MODEL
from gateway.core.split_files import parts
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.ordering.admission import Bounds
from gateway.pool import Pool
from gateway.pool.held_files import content
from gateway.served import memory_budget
from gateway.served.adapter_changes import AdapterChanges
from gateway.served.dispatchers import Dispatchers
from gateway.served.loader import ModelLoader
from gateway.served.protocols import Loader, LoadObserver, Room
from gateway.served.registry import ModelRegistry
from gateway.served.replacement import OVERDUE, Replacement
from gateway.served.resident import LoadNeed, Resident, no_more
from gateway.served.revision import Revision
from gateway.served.served_model import ServedModel
from gateway.served.swappable_pool import SwappablePool
from gateway.served.worker_notes import tell

log = logging.getLogger("forge.models")

MOST_OUTGOING = 2
"""Revisions of a model that may still finish requests when another one comes."""


@dataclass(frozen=True, slots=True)
class _Workers:
    """The makings of a model's workers."""

    facts: Mapping[str, Any]
    content: bytes | None
    """Of the model's file; None: it can't be read."""

    @classmethod
    def of(cls, config: Config) -> "_Workers":
        """Read the files. Raises ConfigError or OSError."""
        projector = config.projector()
        files = [*parts(config.model), *([] if projector is None else [projector])]
        return cls(workers_of(config), content(files))


def workers_of(config: Config) -> Mapping[str, Any]:
    """Return the settings that the workers of a model are made with."""
    spec = config.worker_spec()
    found = {name: getattr(spec, name) for name in spec.__struct_fields__ if name != "name"}
    return found | {
        "workers": config.shape().workers,
        "cache_bytes": config.cache_bytes(),  # of all; a worker's share differs with their number
        "stuck_timeout": config.stuck_timeout,
        "step_timeout": config.step_timeout,
        "max_workers": config.max_workers,
        "node_resources": config.node_resources,
        "node_labels": config.node_labels,
        "node_placement": config.node_placement,
    }


OPTIONS = {
    "model_path": "model",
    "n_ctx": "ctx",
    "type_k": "cache-type-k",
    "type_v": "cache-type-v",
    "cache_bytes": "cache-ram",
    "disk_bytes": "cache-disk",
    "patience": "target-itl-ms",
    "tensor_buffers": "override-tensor",
    "heartbeat_s": "stuck-timeout",
    "media": "media-pixels",
}
"""Options whose values have other names among those settings."""


def _with_adapters(entry: ModelEntry, of: Config) -> ModelEntry:
    """Return an entry with the LoRA adapters of another configuration."""
    options = {name: getattr(of, name) for name in ADAPTERS}
    return replace(entry, config=entry.config.model_copy(update=options))


def _settings(entry: ModelEntry) -> list[Any]:
    """Return what is of a model, and not of the server."""
    own = [getattr(entry.config, name) for name in (*PER_MODEL, "alias")]
    return [*own, entry.preload, entry.keep_alive, entry.system, list(entry.aliases)]


def _for_nothing() -> None:
    """Tell that nothing is waited for."""


ADAPTERS = ("adapters", "lora", "lora_scaled", "lora_init_without_apply")
"""Options of adapters, which workers change while they run."""


class ModelChanger:
    """Implements :class:`gateway.reloading.reloader.ReloadedModels`."""

    def __init__(
        self,
        live: LiveConfig,
        registry: ModelRegistry,
        loader: Loader,
        dispatchers: Dispatchers,
        admission: SharedAdmission,
        make: Callable[[Config], Pool],
        added: Callable[[ModelEntry, LoadNeed], ServedModel],
        loads: LoadObserver,
        adapters: AdapterChanges,
    ) -> None:
        """``make``: a pool whose workers have numbers that no others have.

        ``added`` begins to serve a model that is loaded on demand.
        """
        self._live = live
        self._registry = registry
        self._loader = loader
        self._dispatchers = dispatchers
        self._admission = admission
        self._make = make
        self._added = added
        self._loads = loads
        self._adapters = adapters
        self._workers: dict[str, _Workers] = {}
        """Of each model what its workers were made of, as far as that was looked at."""
        self._finishing: dict[asyncio.Task[None], str] = {}
        """Tasks that end old workers and models, with the names of the models."""
        self._waits: Callable[[], str | None] = _for_nothing
        """Tells what a change waits for."""

    @property
    def several(self) -> bool:
        return isinstance(self._loader, ModelLoader)

    def names(self) -> list[str]:
        return [each.name for each in self._registry.configured]

    def waiting(self) -> str | None:
        """Return what a change waits for, in words; None: for no request."""
        return self._waits()

    async def look(self) -> None:
        """Note what all models are made of; to be called before they are loaded."""
        for served in self._registry.configured:
            with_files = asyncio.to_thread(_Workers.of, served.config)
            self._workers[served.name] = await with_files

    # ------------------------------------------------------------------ a model that stays

    async def change(
        self, name: str, entry: ModelEntry, *, shares: bool
    ) -> tuple[Literal["replaced", "settings", "unchanged"], str | None]:
        """Serve a model as ``entry`` says. Raises PoolFailed or ConfigError; it goes on then.

        ``shares``: the number of models is another one, and with it the share of each in an
        automatic --cache-ram; that alone is no reason for new workers.
        """
        served = next(each for each in self._registry.configured if each.name == name)
        others = entry.config
        await self._adapters.check(served, others)  # before anything is changed
        change, reason = await self._changed(
            served, _with_adapters(entry, served.config), shares=shares
        )
        try:
            adapted = await self._adapters.reread(served, others)
        except ConfigError as error:
            if change == "unchanged":
                raise
            return change, "; ".join(filter(None, (reason, f"its adapters are as before: {error}")))
        if not adapted:
            return change, reason
        served.take(_with_adapters(served.entry, others))
        told = "; ".join(filter(None, (reason, "new adapters")))
        return ("settings" if change == "unchanged" else change), told

    async def _changed(
        self, served: ServedModel, entry: ModelEntry, *, shares: bool
    ) -> tuple[Literal["replaced", "settings", "unchanged"], str | None]:
        name, workers = served.name, await self._look_at(entry)
        why = self._differences(served, workers)
        if shares and why == ["cache-ram"]:
            old = {"cache_ram": served.config.cache_ram}
            entry, why = replace(entry, config=entry.config.model_copy(update=old)), []
        if not why:
            if _settings(served.entry) == _settings(entry):
                return "unchanged", None
            self._take(served, entry)
            self._note(name, entry, workers)
            return "settings", None
        need = await asyncio.to_thread(self._need, entry)
        await self._few_outgoing(name)
        room = await self._loader.make_room(name, entry.config, need)
        if room is None:
            assert isinstance(self._loader, ModelLoader), "another is always loaded"
            pool = served.pool
            assert isinstance(pool, SwappablePool), "it comes and goes"
            pool.remake(lambda: self._make(entry.config))
            self._loader.change(Resident(name, need, entry.keep_alive, pool))
            self._take(served, entry)
            self._note(name, entry, workers)
            return "settings", "they count from its next load"
        await self._replace(served, entry, need, room)
        self._note(name, entry, workers)
        return "replaced", f"new {', '.join(why)}"

    def _differences(self, served: ServedModel, workers: _Workers) -> list[str]:
        """Return the options whose values differ, and "content" for a model's file."""
        before = self._workers.get(served.name)
        old = workers_of(served.config) if before is None else before.facts
        names = [name for name in workers.facts if old.get(name) != workers.facts[name]]
        found = sorted({OPTIONS.get(name, name.replace("_", "-")) for name in names})
        same_path = "model" not in found
        held = {status.model_file for status in served.pool.workers()} - {"same"}
        if same_path and (held or (before is not None and before.content != workers.content)):
            found.append("content of the file")
        return found

    def _note(self, name: str, entry: ModelEntry, workers: _Workers) -> None:
        self._workers.pop(name, None)
        self._workers[entry.name] = workers

    def _take(self, served: ServedModel, entry: ModelEntry) -> None:
        """Take settings that are looked at with each request."""
        served.take(entry)
        self._arranged()
        if isinstance(self._loader, ModelLoader):
            self._loader.keep(served.name, entry.keep_alive)

    def _arranged(self) -> None:
        """Let the registry look at names and aliases anew."""
        for served in self._registry.configured:
            self._loads.known(served.name)
        self._registry.configure(list(self._registry.configured))

    async def _look_at(self, entry: ModelEntry) -> _Workers:
        """Return what a model's workers are made of. Raises ConfigError."""
        try:
            return await asyncio.to_thread(_Workers.of, entry.config)
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error

    def _need(self, entry: ModelEntry) -> LoadNeed:
        """Return the memory of a model's workers. Raises ConfigError if it can never be had."""
        if not isinstance(self._loader, ModelLoader):
            return LoadNeed(memory_budget.need_of(entry.config))
        share = memory_budget.share(self._live.now, entry, self._loader.budget)
        return LoadNeed(share.need, share.check)

    async def _few_outgoing(self, name: str) -> None:
        """Wait until not too many old workers of a model finish requests: each takes memory."""
        self._waits = lambda: f"{name}: requests of earlier reloads have its older workers still"
        try:
            while len(tasks := [task for task, of in self._finishing.items() if of == name]) >= (
                MOST_OUTGOING
            ):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waits = _for_nothing

    async def _replace(
        self, served: ServedModel, entry: ModelEntry, need: LoadNeed, room: Room
    ) -> None:
        """Raises PoolFailed or ConfigError; the old workers go on then."""
        name, began_ns = served.name, time.monotonic_ns()
        pool = self._pool(entry)
        new = Revision(entry, self._dispatchers.add(pool, served.dispatcher.totals), pool)
        replacement = Replacement(
            served, new, self._dispatchers, self._live.now.retire_timeout, self._arranged
        )
        work = replacement.beside if room.beside else replacement.worker_by_worker
        self._waits = replacement.waiting
        try:
            async with self._adapters.handed_on(served, pool):
                await work()
        except BaseException:
            if served.current is not new:  # else the server ends between two workers
                self._dispatchers.remove(new.dispatcher)
            self._loader.unpin(name)
            self._loader.give_back(name, room)
            self._loads.failed(name)
            raise
        finally:
            self._waits = _for_nothing
        self._loader.replaced(name, new, need, room)
        self._loads.loaded(served.name, time.monotonic_ns() - began_ns)
        tell(served.name, pool.model)
        task = asyncio.create_task(self._finish(replacement, name, room))
        self._finishing[task] = served.name
        task.add_done_callback(self._finished)

    def _pool(self, entry: ModelEntry) -> Pool:
        if self.several:
            return SwappablePool(lambda: self._make(entry.config), ())
        return self._make(entry.config)

    async def _finish(self, replacement: Replacement, name: str, room: Room) -> None:
        await replacement.finish()
        self._loader.give_back(name, room)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._finishing.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("old workers did not end as they should", exc_info=task.exception())

    # ------------------------------------------------------------------ models that come and go

    async def add(self, entry: ModelEntry) -> None:
        """Serve one model more. Raises ConfigError if it can never be loaded."""
        if any(each.name == entry.name for each in self._registry.models):
            raise ConfigError(
                "there is a model of this name, of the catalog or one that is being retired; it "
                "can be served once that is unloaded"
            )
        workers = await self._look_at(entry)
        need = await asyncio.to_thread(self._need, entry)
        self._loads.known(entry.name)
        served = self._added(entry, need)
        self._registry.configure([*self._registry.configured, served])
        self._note(entry.name, entry, workers)
        try:
            await self._adapters.begin(served)
        except ConfigError:
            self.retire(entry.name)
            raise

    def retire(self, name: str) -> None:
        """Take nothing new for a model, and forget it once its requests have ended."""
        configured = list(self._registry.configured)
        served = next(each for each in configured if each.name == name)
        configured.remove(served)
        self._registry.configure(configured)
        self._workers.pop(name, None)
        served.dispatcher.drain(no_more(name))
        task = asyncio.create_task(self._end(served))
        self._finishing[task] = name
        task.add_done_callback(self._finished)

    async def _end(self, served: ServedModel) -> None:
        assert isinstance(self._loader, ModelLoader), "one model alone stays"
        patience_s = self._live.now.retire_timeout
        await self._dispatchers.finish(served.dispatcher, patience_s, OVERDUE)
        while served.outgoing or not self._loader.remove(served.name):
            await self._loader.unload(served.name)
            await asyncio.sleep(0.05)
        self._adapters.end(served)
        self._registry.remove(served)
        self._dispatchers.remove(served.dispatcher)

    def arrange(self, names: list[str]) -> None:
        """Put the models in this order; the first is the default."""
        place = {name: at for at, name in enumerate(names)}
        models = sorted(self._registry.configured, key=lambda each: place.get(each.name, 0))
        self._registry.configure(models)

    def bound(self, requests: int, size: int) -> None:
        """Set the bounds on what waits."""
        self._admission.bounds = Bounds(requests, size)

    async def stop(self) -> None:
        """Give up what is still to be finished: the server ends."""
        tasks = list(self._finishing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
