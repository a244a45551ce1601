"""The composition root: the one place that wires objects together."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.types import ASGIApp

from gateway import __version__
from gateway.accounting.accounts import Accounts
from gateway.api.batches.models import ServedBatchModels
from gateway.api.content_encoding import decoded, encodings
from gateway.api.responses import (
    Archive,
    MemoryArchive,
)
from gateway.api.service import Service
from gateway.config.api_keys import Keyring
from gateway.config.config import Config, ConfigError, NotNow
from gateway.config.live_config import LiveConfig
from gateway.config.model_entry import ModelEntry
from gateway.core.errors import ForgeError, Unavailable
from gateway.dashboard.history import Gaps
from gateway.dashboard.live import Live
from gateway.dashboard.view import View
from gateway.dispatch.budgets import Budgets
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.observer import Observer, Observers
from gateway.dispatch.rate_limits import RateLimiter
from gateway.dispatch.ticket import new_name
from gateway.front import Front
from gateway.media.fetching import FetchTerms
from gateway.model_files.pulls import Pulls
from gateway.pool import Pool
from gateway.reloading.reloader import Reloader
from gateway.served.adapter_changes import AdapterUses
from gateway.served.assembly import ModelAssembly
from gateway.served.catalog_models import LABEL
from gateway.served.memory_budget import MemoryBudget
from gateway.served.setup import Setup
from gateway.served.use_observer import UseObserver
from gateway.stored.errors import StoreUnreachable, StoreUnusable
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.metrics.batches import BatchLines
from gateway.telemetry.metrics.captures import CaptureFates
from gateway.telemetry.metrics.llama_server import LlamaServerMetrics
from gateway.telemetry.metrics.models import FileStates, States
from gateway.telemetry.metrics.spans import SpanCounts
from gateway.telemetry.metrics.state import QueueGauges
from gateway.telemetry.request_log import RequestLog
from gateway.tracing import tracer

if TYPE_CHECKING:
    from gateway.batches.runner import BatchRunner
    from gateway.capture.assembly import CaptureParts
    from gateway.stored.store import Store


class Gateway:
    """Queue, pool, limits and metrics of one process, with their life."""

    def __init__(
        self,
        config: Config,
        keyring: Keyring | None = None,
        pool: Pool | None = None,
        plan: MemoryBudget | None = None,
        make: Callable[[Config, int], Pool] | None = None,
        clock: Callable[[], float] = time.time,
        read: Callable[[], Setup] | None = None,
        fetch_terms: FetchTerms | None = None,
    ) -> None:
        """``keyring`` None: no key is needed. ``plan``: several models, instead of the one.

        ``read`` reads anew what the server is made of, for a reload.

        ``pool`` replaces the local pool of processes, ``make`` those of several models, ``clock``
        (Unix seconds) that by which files and batches expire, ``fetch_terms`` what holds for
        addresses of pictures.
        """
        self.config = config
        self._fetch_terms = fetch_terms or FetchTerms()
        entries = [ModelEntry(config)] if plan is None else [share.entry for share in plan.shares]
        names = [entry.name for entry in entries]
        self.keyring = keyring or Keyring()
        self.store = _store(config, clock)
        budgets = Budgets(self.keyring, clock)
        self.limits = RateLimiter(self.keyring, time.monotonic_ns, budgets)
        self.keyring.on_change(lambda: self.limits.update(self.keyring))
        self.metrics = Metrics(*names, others=LABEL if config.catalog else None)
        self.accounts = Accounts(
            self.keyring, budgets, names[0], self.store, config.usage_days, clock, new_name()
        )
        recorder = self.accounts.recorder
        log = RequestLog(names[0], config.log_prompts)
        observers: list[Observer] = [self.limits, recorder, log]
        if config.metrics:
            observers.append(self.metrics)
        self.tracer = tracer(os.environ, names[0], __version__)
        if self.tracer is not None:
            observers.append(self.tracer)
            self.metrics.registry.add(SpanCounts(self.tracer.counts))
        self._observer = Observers(*observers)
        meter = self.metrics.meter if config.metrics else None
        self.live_config = LiveConfig(config)
        self._models = ModelAssembly(
            config, self._observer, self.metrics.loads, meter, pool, plan, make, self.live_config
        )
        self.reloader = Reloader(
            read,
            self.live_config,
            self.keyring,
            self._models.changer,
            lambda: self.registry.draining,
        )
        self.registry = self._models.registry
        self._observer.add(UseObserver(self._models.loader.used, names[0]))
        self._observer.add(AdapterUses(self._models.adapters))
        self.metrics.registry.add(QueueGauges(self.registry))
        self.metrics.registry.add(States(self.metrics.labels, self.registry.states))
        self.metrics.registry.add(FileStates(self.metrics.labels, self.registry.file_states))
        self.metrics.registry.add(BatchLines(self._batch_counts))
        self.metrics.registry.add(CaptureFates(self._capture_counts))
        if config.metrics and config.llamacpp_metrics:
            self._observer.add(self.metrics.registry.add(LlamaServerMetrics(self.registry)))
        self._view = View(self.registry, self._gaps if config.metrics else None)
        self.live = Live(self._view.look, self._view.now_s)
        if config.page:
            self._observer.add(self._view)
        self._pulls = Pulls()
        self._lag: asyncio.Task[None] | None = None

    @property
    def dispatcher(self) -> Dispatcher:
        """Return the dispatcher of the first model, which may be the only one."""
        return self.registry.first.dispatcher

    @property
    def pool(self) -> Pool:
        """Return the pool of the first model."""
        return self.registry.first.pool

    async def open(self) -> None:
        """Open the store, if there is one; to be called before :meth:`app`.

        Raises ConfigError. A second call does nothing.
        """
        if self.store is None:
            self._check_no_captures()
            return
        option = "--data-dir" if self.config.database is None else "--database"
        try:
            await self.store.open()
            await self.accounts.open()
        except Unavailable as error:
            raise NotNow(f"{option}: {error.message}") from error
        except StoreUnusable as error:
            kind = NotNow if isinstance(error, StoreUnreachable) else ConfigError
            raise kind(f"{option}: {error}") from error
        if self.store.is_open and not self.captures.keeper.working:
            self.store.sweeps.append(self.captures.rows.sweep)
            self.captures.keeper.start()
        await self._archive.start()

    def _check_no_captures(self) -> None:
        """Raises ConfigError if something is to be captured, without a place for it."""
        place = "captures need a place: --data-dir or --database"
        if self.config.capture != "off":
            raise ConfigError(f"--capture: {place}")
        for key in self.keyring:
            if key.capture not in (None, "off"):
                raise ConfigError(f"--api-key-file: key {key.name!r}: capture: {place}")

    async def start(self) -> None:
        """Return when the first models are loaded; requests may queue before.

        Raises PoolFailed if the server can't go on without one: see the two loaders.
        """
        await self.open()
        if self.config.metrics:
            self._lag = asyncio.create_task(self.metrics.lag.run())
        self.accounts.start()
        await self._models.start()
        if self.store is not None and self.store.is_open:
            self.batches.start()
        self.reloader.ready()

    async def broken(self) -> None:
        """Wait for a bug to end a dispatch loop, and raise it: some would be served no more.

        To be called after :meth:`start`.
        """
        await self._models.broken()

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish the rest; after ``timeout`` seconds give it up."""
        self._pulls.close()
        await asyncio.gather(self._models.drain(timeout), self._drain_batches())
        self.live.close()

    def abandon(self) -> None:
        """Fail all requests that are still served or wait: the server ends now."""
        self._models.abandon()

    async def stop(self) -> None:
        """End the workers."""
        self.live.close()
        self._pulls.close()
        if self._lag is not None:
            self._lag.cancel()
        if self.store is not None:
            await self.batches.stop()
        await self.reloader.stop()
        await self._models.stop()
        await self._archive.stop()
        await self.accounts.stop()
        if self.store is not None:
            await self.captures.keeper.stop()
            await self.store.close()
        if self.tracer is not None:
            await self.tracer.close()

    async def _drain_batches(self) -> None:
        if self.store is not None:
            await self.batches.drain()

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        return self.front.app()

    def respond(self, path: str, error: ForgeError) -> Response:
        """Return an error for what is not even a request, as the dialect at ``path`` has it."""
        return self.front.respond(path, error)

    @cached_property
    def front(self) -> Front:
        """The endpoints, made when the store is open: that decides what they stand on."""
        return Front(
            self.config,
            self.keyring,
            self.metrics,
            self.tracer,
            self._service,
            self._archive,
            self._models.adapters,
            self._pulls,
            self.live,
            batches=lambda: self.batches,
            captures=lambda: self.captures,
        )

    @cached_property
    def captures(self) -> "CaptureParts":
        """Captures into the store, which there is. Raises ConfigError for a bad pattern."""
        from gateway.capture.assembly import CaptureParts  # late, as the store

        assert self.store is not None, "there is one"
        return CaptureParts(self.config, self.store.database, self.store.clock, _plain)

    def _capture_counts(self) -> Counter[str]:
        return Counter[str]() if self.store is None else self.captures.keeper.counts()

    @cached_property
    def batches(self) -> "BatchRunner":
        """Runs the batches of the store, which there is."""
        from gateway.batches.runner import BatchRunner  # late, as the store

        assert self.store is not None, "there is one"
        models = ServedBatchModels(self._service)
        return BatchRunner(
            self.store, self.front.lines, self.keyring.named, models, self._service.most_body
        )

    def _batch_counts(self) -> Counter[str]:
        return Counter[str]() if self.store is None else self.batches.feed.counts()

    @cached_property
    def _service(self) -> Service:
        return Service(
            self.live_config,
            self.registry,
            self.limits,
            self._observer,
            self.accounts,
            self.metrics.on_ignored,
            catalog=self._models.catalog,
            store=self.store,
            reloader=self.reloader,
            fetch_terms=self._fetch_terms,
        )

    @cached_property
    def _archive(self) -> Archive:
        """Stored responses: in the store, if that is open by now, or in memory."""
        room, age = self.config.store_bytes, self.config.store_age
        if self.store is None or not self.store.is_open or room == 0:
            return MemoryArchive(room, age, time.monotonic_ns)
        from gateway.api.responses.database_archive import DatabaseArchive  # late, as the store
        from gateway.stored.objects import Objects

        database = self.store.database
        return DatabaseArchive(Objects(database, room, age), alone=not database.postgres)

    def _gaps(self) -> Gaps:
        return Gaps(*self.metrics.gaps())


def _plain(body: bytes, names: Sequence[str], most: int) -> bytes | bytearray:
    """Decode a body with these values of Content-Encoding."""
    return decoded(body, encodings(names), most)


def _store(config: Config, clock: Callable[[], float]) -> "Store | None":
    """Return the store that the options ask for, still closed."""
    if config.data_dir is None and config.database is None:
        return None
    from gateway.stored.store import Store  # late: SQLAlchemy takes a while to import

    url = None if config.database is None else config.database.get_secret_value()
    return Store(config.data_dir, url, config.max_file, clock)
