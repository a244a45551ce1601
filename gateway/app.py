"""The composition root: the one place that wires objects together."""

import asyncio
import os
import time
from collections.abc import Callable
from functools import cached_property, partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.api.docs import Docs
from gateway.api.embeddings import Embeddings
from gateway.api.endpoint import Endpoint, routes
from gateway.api.failures import Failures, respond
from gateway.api.infer import Infer
from gateway.api.llama_server.embedding import LlamaEmbedding
from gateway.api.llama_server.endpoints import LlamaServer
from gateway.api.llama_server.state import LlamaState
from gateway.api.messages import Messages
from gateway.api.models import Models
from gateway.api.ollama.endpoints import Ollama
from gateway.api.ollama.presence import root
from gateway.api.openai import OpenAI
from gateway.api.openapi import document
from gateway.api.ops import Ops
from gateway.api.ranking import RankingEndpoints
from gateway.api.responses import Archive, Conversations, Responses, StoredResponses
from gateway.api.service import Service
from gateway.api.tokens import TokenEndpoints
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.core import loopback
from gateway.core.errors import ForgeError
from gateway.dashboard.endpoint import Dashboard
from gateway.dashboard.history import Gaps
from gateway.dashboard.live import Live
from gateway.dashboard.view import View
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.invariants import InvariantChecker
from gateway.dispatch.observer import Observer, Observers
from gateway.dispatch.rate_limits import RateLimiter
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.dispatch.ticket import new_name
from gateway.http.auth import Authentication
from gateway.http.paths import NormalisedPaths, PathTable
from gateway.http.response_headers import TicketHeaders
from gateway.ordering.admission import Bounds
from gateway.ordering.preemption import PreemptionRules
from gateway.pool import Pool
from gateway.pool.process import spare_engine
from gateway.pool.supervisor import LocalPool
from gateway.served.always_loaded import AlwaysLoaded
from gateway.served.first_look import FirstLook
from gateway.served.loader import ModelLoader, Resident
from gateway.served.memory_budget import MemoryBudget
from gateway.served.protocols import Loader
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel
from gateway.served.swappable_pool import SwappablePool
from gateway.served.use_observer import UseObserver
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.metrics.llama_server import LlamaServerMetrics
from gateway.telemetry.metrics.models import FileStates, States
from gateway.telemetry.metrics.state import QueueGauges
from gateway.telemetry.request_log import RequestLog

EXPOSED = [
    "X-Request-Id",
    "X-Queue-Wait",
    "X-Priority",
    "X-Seed",
    "X-Ignored-Parameters",
    "Retry-After",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Limit-Tokens",
    "X-RateLimit-Remaining-Tokens",
    "request-id",
    "x-should-retry",
]
"""Headers that a web page may read; without CORS's consent browsers hide them."""
PAGES = ("/openapi.json", "/docs", "/dashboard")
"""Paths beside the API's that an error may name."""


class Gateway:
    """Queue, pool, limits and metrics of one process, with their life."""

    def __init__(
        self,
        config: Config,
        keyring: Keyring | None = None,
        pool: Pool | None = None,
        plan: MemoryBudget | None = None,
        make: Callable[[Config, int], Pool] | None = None,
    ) -> None:
        """``keyring`` None: anyone may come. ``plan``: several models, instead of the one.

        ``pool`` replaces the local pool of processes, ``make`` those of several models.
        """
        self.config = config
        entries = [ModelEntry(config)] if plan is None else [share.entry for share in plan.shares]
        names = [entry.name for entry in entries]
        self.keyring = keyring or Keyring()
        self.limits = RateLimiter(self.keyring, time.monotonic_ns)
        self.metrics = Metrics(*names)
        observers: list[Observer] = [self.limits, RequestLog(names[0], config.log_prompts)]
        if config.metrics:
            observers.append(self.metrics)
        self._observer = Observers(*observers)
        self._shared_admission = SharedAdmission(Bounds(config.max_queue, config.max_queue_bytes))
        look = FirstLook(os.environ, self._busy)
        pools: list[Pool]
        self._loader: Loader
        if plan is None:
            pools = [pool or local_pool(config, look=look)]
            self._loader = AlwaysLoaded(names[0], pools[0], time.monotonic_ns, self.metrics.loads)
        else:
            residents = _residents(plan, make or partial(local_pool, look=look))
            pools = [resident.pool for resident in residents]
            self._loader = ModelLoader(
                plan.budget, residents, time.monotonic_ns, self.metrics.loads, config.queue_timeout
            )
        self.registry = ModelRegistry(list(map(self._served, entries, pools)))
        self._loader.begin({each.name: each.dispatcher for each in self.registry.models})
        self._observer.add(UseObserver(self._loader.used, names[0]))
        self.metrics.registry.add(QueueGauges(self.registry))
        self.metrics.registry.add(States(self.registry.states))
        self.metrics.registry.add(FileStates(self.registry.file_states))
        if config.metrics and config.llamacpp_metrics:
            self._observer.add(self.metrics.registry.add(LlamaServerMetrics(self.registry)))
        self._view = View(self.registry, self._gaps if config.metrics else None)
        self.live = Live(self._view.look, self._view.now_s)
        if config.page:
            self._observer.add(self._view)
        self._auditors = [InvariantChecker(served.dispatcher) for served in self.registry.models]
        self._loops: list[asyncio.Task[None]] = []
        """Without one of these some requests would wait for ever."""
        self._watching: list[asyncio.Task[None]] = []

    def _busy(self) -> bool:
        """Return whether any model computes something."""
        return any(served.dispatcher.stats.running() for served in self.registry.models)

    def _served(self, entry: ModelEntry, pool: Pool) -> ServedModel:
        """A model with a dispatcher of its own."""
        config = self.config
        dispatcher = Dispatcher(
            pool,
            config.aging_rate,
            time.monotonic_ns,
            self._observer,
            shared_admission=self._shared_admission,
            queue_timeout=config.queue_timeout,
            preemption=PreemptionRules(config.quantum, config.aging_rate)
            if config.preempt == "on"
            else None,
            meter=self.metrics.meter if config.metrics else None,
            changed=self._loader.poke,
        )
        return ServedModel(entry, dispatcher, pool, self._loader)

    @property
    def dispatcher(self) -> Dispatcher:
        """That of the first model, which may be the only one."""
        return self.registry.first.dispatcher

    @property
    def pool(self) -> Pool:
        """That of the first model."""
        return self.registry.first.pool

    async def start(self) -> None:
        """Return when the first models are loaded; requests may queue before.

        Raises PoolFailed if the server can't go on without one: see the two loaders.
        """
        self._loops = [
            asyncio.create_task(served.dispatcher.run()) for served in self.registry.models
        ]
        self._watching = [asyncio.create_task(auditor.run()) for auditor in self._auditors]
        if self.config.metrics:
            self._watching.append(asyncio.create_task(self.metrics.lag.run()))
        self._loops.append(asyncio.create_task(self._loader.run()))
        await self._loader.start([each.name for each in self.registry.models if each.preload])

    async def broken(self) -> None:
        """Wait for a bug to end a dispatch loop, and raise it: some would be served no more.

        To be called after :meth:`start`.
        """
        ended, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in ended:
            loop.result()

    async def drain(self, timeout: float) -> None:
        """Take nothing new and finish the rest; after ``timeout`` seconds give it up."""
        dispatchers = [served.dispatcher for served in self.registry.models]
        for dispatcher in dispatchers:
            dispatcher.drain()
        try:
            async with asyncio.timeout(timeout):
                for dispatcher in dispatchers:
                    await dispatcher.idle()
        except TimeoutError:
            self.abandon()
        for auditor in self._auditors:
            await auditor.last_look()
        self.live.close()

    def abandon(self) -> None:
        """Fail all requests that are still served or wait: the server ends now."""
        for served in self.registry.models:
            served.dispatcher.abandon("the server is shutting down")

    async def stop(self) -> None:
        """End the workers."""
        self.live.close()
        tasks = [*self._watching, *self._loops]
        for task in tasks:
            task.cancel()  # a loader would load another model now
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loader.stop()

    def app(self) -> ASGIApp:
        """The ASGI application."""
        endpoints = self._endpoints
        failures = Failures(self.metrics.on_error, self._paths.near)
        # Inside starlette's net for bugs, before the router: without a key no client learns paths.
        authentication = Middleware(
            Authentication,
            keyring=self.keyring,
            open_paths={endpoint.path for endpoint in endpoints if endpoint.open},
            respond=failures.answer,
        )
        app = Starlette(
            routes=routes(endpoints),
            middleware=[authentication],
            exception_handlers=failures.handlers(),
        )
        app.router.redirect_slashes = False  # the path table knows better, without a detour
        # These three around everything, the answer to a bug included.
        headed = TicketHeaders(self._with_cors(app), time.monotonic_ns)
        return NormalisedPaths(headed, self._paths)

    def respond(self, path: str, error: ForgeError) -> Response:
        """An error for what is not even a request, in the shape of the dialect at ``path``."""
        self.metrics.on_error(error)
        name = new_name()
        response = respond(self._paths.find(path), error, name)
        response.headers["X-Request-Id"] = name
        return response

    @cached_property
    def _endpoints(self) -> list[Endpoint]:
        service = Service(
            self.config, self.registry, self.limits, self._observer, self.metrics.on_ignored
        )
        archive = Archive(self.config.store_bytes, self.config.store_age, time.monotonic_ns)
        described = [
            *OpenAI(service).endpoints(),
            *Messages(service).endpoints(),
            *Responses(service, archive).endpoints(),
            *StoredResponses(service, archive).endpoints(),
            *Conversations(service, archive).endpoints(),
            *Ollama(service).endpoints(),
            *Embeddings(service).endpoints(),
            *RankingEndpoints(service).endpoints(),
            *TokenEndpoints(service).endpoints(),
            *LlamaServer(service).endpoints(),
            *LlamaEmbedding(service).endpoints(),
            *LlamaState(service).endpoints(),
            *Infer(service).endpoints(),
            *Models(service).endpoints(),
            *Ops(service, self.metrics).endpoints(),
        ]
        keyed = not self.keyring.open
        page = Dashboard(service, self.live).endpoints() if self.config.page else [root(None)]
        docs = Docs(partial(document, described, keyed=keyed)).endpoints()
        return [*described, *docs, *page]

    @cached_property
    def _paths(self) -> PathTable:
        """All paths; errors name those of the API and of the pages, not those of pages' parts."""
        shown = [each for each in self._endpoints if each.group or each.path in PAGES]
        return PathTable(
            [each.path for each in self._endpoints],
            {each.template: f"{each.method} {each.template}" for each in shown},
        )

    def _gaps(self) -> Gaps:
        return Gaps(*self.metrics.gaps())

    def _with_cors(self, app: ASGIApp) -> ASGIApp:
        """Let web pages of the allowed origins in. Preflights end here: they carry no key."""
        origins = self.config.cors_origin
        if not origins:
            return app
        return CORSMiddleware(
            app,
            allow_origins=[each for each in origins if each != loopback.NAME],
            allow_origin_regex=loopback.ORIGIN if loopback.NAME in origins else None,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # OpenAI's client in a browser sends a dozen of its own
            expose_headers=EXPOSED,
            # A page in the world that calls into a private network: if it was meant by its name.
            allow_private_network="*" not in origins,
        )


def _residents(plan: MemoryBudget, make: Callable[[Config, int], Pool]) -> list[Resident]:
    """Models that are loaded and unloaded; their workers are numbered one model after another."""
    first, residents = 0, list[Resident]()
    for share in plan.shares:
        entry, count = share.entry, share.entry.config.shape().workers
        numbers = range(first, first + count)
        first += count
        pool = SwappablePool(partial(make, entry.config, numbers.start), numbers)
        residents.append(Resident(entry.name, share.need, entry.keep_alive, pool, share.check))
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
