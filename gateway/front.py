"""The HTTP side of a gateway: its endpoints, and the layers around them, from the inside out.

A request meets the path table first, then CORS, the headers of its ticket, its span, the keys, the
layer that captures, and the endpoint that its path names. Lines of batches go to the same endpoints
without the layers that are about connections.
"""

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp

from gateway.api.adapters import AdapterEndpoints
from gateway.api.batches.endpoints import BatchEndpoints
from gateway.api.captures.endpoints import CaptureEndpoints
from gateway.api.docs import Docs
from gateway.api.embeddings import Embeddings
from gateway.api.endpoint import Endpoint, routes
from gateway.api.failures import Failures, respond
from gateway.api.files import FileEndpoints, UploadEndpoints
from gateway.api.infer import Infer
from gateway.api.keys import KeyEndpoints
from gateway.api.line_caller import PATHS as LINE_PATHS
from gateway.api.line_caller import LineCaller
from gateway.api.llama_server.adapters import LoraAdapters
from gateway.api.llama_server.embedding import LlamaEmbedding
from gateway.api.llama_server.endpoints import LlamaServer
from gateway.api.llama_server.state import LlamaState
from gateway.api.messages import Messages
from gateway.api.models import Models
from gateway.api.ollama.endpoints import Ollama
from gateway.api.ollama.models import OllamaModels
from gateway.api.ollama.presence import root
from gateway.api.ollama.vectors import OllamaVectors
from gateway.api.openai import OpenAI
from gateway.api.openapi import document
from gateway.api.ops import GROUP as OPERATORS
from gateway.api.ops import Ops
from gateway.api.ranking import RankingEndpoints
from gateway.api.reload import ReloadEndpoints
from gateway.api.responses import Archive, Conversations, Responses, StoredResponses
from gateway.api.service import Service
from gateway.api.tokens import TokenEndpoints
from gateway.api.usage import UsageEndpoints
from gateway.capture.asking import NoCaptures
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.core.errors import ForgeError
from gateway.dashboard.endpoint import Dashboard
from gateway.dashboard.live import Live
from gateway.dispatch.ticket import new_name
from gateway.http.auth import Authentication
from gateway.http.cors import Cors
from gateway.http.paths import NormalisedPaths, PathTable
from gateway.http.response_headers import TicketHeaders
from gateway.model_files.pulls import Pulls
from gateway.served.adapter_changes import AdapterChanges
from gateway.telemetry.metrics import Metrics
from gateway.tracing.requests import TracedRequests
from gateway.tracing.tracer import Tracer

if TYPE_CHECKING:
    from gateway.batches.runner import BatchRunner
    from gateway.capture.assembly import CaptureParts

EXPOSED = [
    "X-Request-Id",
    "X-Queue-Wait",
    "X-Priority",
    "X-Seed",
    "X-Ignored-Parameters",
    "X-Capture",
    "Retry-After",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Limit-Tokens",
    "X-RateLimit-Remaining-Tokens",
    "request-id",
    "x-should-retry",
    "Warning",
    "Content-Range",
    "ETag",
]
"""Headers that a web page may read; without CORS's consent browsers hide them."""
PAGES = ("/openapi.json", "/docs", "/dashboard")
"""Paths beside the API's that an error may name."""


class Front:
    """Endpoints and layers of one gateway."""

    def __init__(
        self,
        config: Config,
        keyring: Keyring,
        metrics: Metrics,
        tracer: Tracer | None,
        service: Service,
        archive: Archive,
        adapters: AdapterChanges,
        pulls: Pulls,
        live: Live,
        *,
        batches: Callable[[], "BatchRunner"],
        captures: Callable[[], "CaptureParts"],
    ) -> None:
        """``batches`` and ``captures`` are asked for only where there is a store."""
        self._config = config
        self._keyring = keyring
        self._metrics = metrics
        self._tracer = tracer
        self._service = service
        self._archive = archive
        self._adapters = adapters
        self._pulls = pulls
        self._live = live
        self._batches = batches
        self._captures = captures

    # ------------------------------------------------------------------ layers

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        # Inside starlette's net for bugs, before the router: without a key no client learns paths.
        authentication = Middleware(
            Authentication,
            keyring=self._keyring,
            open_paths={endpoint.path for endpoint in self.endpoints if endpoint.open},
            respond=self._failures.answer,
        )
        app = Starlette(
            routes=routes(self.endpoints),
            middleware=[authentication, self._capturing()],
            exception_handlers=self._failures.handlers(),
        )
        app.router.redirect_slashes = False  # the path table knows better, without a detour
        # These around everything, the answer to a bug included.
        headed = self._traced(TicketHeaders(self._with_cors(app), time.monotonic_ns))
        return NormalisedPaths(headed, self.paths)

    def _capturing(self) -> Middleware:
        """Return the layer that captures: behind the keys, around all dialects."""
        groups = {each.path: each.group for each in self._api if each.queued != "no"}
        if self._service.store is None:
            return Middleware(NoCaptures, set(groups), self._failures.answer)
        return self._captures().layer(groups, self._failures.answer)

    def _traced(self, app: ASGIApp, *, lines: bool = False) -> ASGIApp:
        """Put spans around the API's requests; not around those of pages and of operators."""
        if self._tracer is None:
            return app
        told = {each.path for each in self._api if each.group != OPERATORS}
        quiet = [each.path for each in self.endpoints if each.path not in told]
        return TracedRequests(app, self._tracer, quiet, lines=lines)

    def _with_cors(self, app: ASGIApp) -> ASGIApp:
        origins = self._config.cors_origin
        return Cors(app, origins, EXPOSED) if origins else app

    @cached_property
    def lines(self) -> LineCaller:
        """Answers the lines of batches by the endpoints that clients ask, behind the keys."""
        app = Starlette(
            routes=routes(each for each in self._api if each.path in LINE_PATHS),
            exception_handlers=self._failures.handlers(),
        )
        headed = self._traced(TicketHeaders(app, time.monotonic_ns), lines=True)
        return LineCaller(headed, self._failures.answer, self._service.promote)

    # ------------------------------------------------------------------ endpoints

    @cached_property
    def _api(self) -> list[Endpoint]:
        """All that clients ask of models; lines of batches are answered by some of them."""
        service, archive = self._service, self._archive
        return [
            *OpenAI(service).endpoints(),
            *Messages(service).endpoints(),
            *Responses(service, archive).endpoints(),
            *StoredResponses(service, archive).endpoints(),
            *Conversations(service, archive).endpoints(),
            *FileEndpoints(service).endpoints(),
            *UploadEndpoints(service).endpoints(),
            *Ollama(service).endpoints(),
            *OllamaVectors(service).endpoints(),
            *Embeddings(service).endpoints(),
            *RankingEndpoints(service).endpoints(),
            *TokenEndpoints(service).endpoints(),
            *LlamaServer(service).endpoints(),
            *LlamaEmbedding(service).endpoints(),
            *LlamaState(service).endpoints(),
            *LoraAdapters(service).endpoints(),
            *AdapterEndpoints(service, self._adapters).endpoints(),
            *Infer(service).endpoints(),
            *BatchEndpoints(service, self._batches).endpoints(),
            *CaptureEndpoints(service, lambda: self._captures().rows).endpoints(),
            *Models(service).endpoints(),
            *ReloadEndpoints(service).endpoints(),
            *OllamaModels(service, self._pulls, self._metrics.on_error).endpoints(),
            *Ops(service, self._metrics).endpoints(),
            *UsageEndpoints(service).endpoints(),
            *KeyEndpoints(service).endpoints(),
        ]

    @cached_property
    def endpoints(self) -> list[Endpoint]:
        """The API's, and the pages'."""
        service, described = self._service, self._api
        page = Dashboard(service, self._live).endpoints() if self._config.page else [root(None)]
        docs = Docs(
            lambda keyed: document(described, keyed=keyed), lambda: not self._keyring.open
        ).endpoints()
        return [*described, *docs, *page]

    @cached_property
    def paths(self) -> PathTable:
        """All paths; errors name those of the API and of the pages, not those of pages' parts."""
        named = [each for each in self.endpoints if each.group or each.path in PAGES]
        shown = [each for each in named if each.offered]
        return PathTable(
            [each.path for each in self.endpoints],
            {each.template: f"{each.method} {each.template}" for each in shown},
        )

    # ------------------------------------------------------------------ errors

    @cached_property
    def _failures(self) -> Failures:
        return Failures(self._metrics.on_error, lambda path: self.paths.near(path))

    def respond(self, path: str, error: ForgeError) -> Response:
        """Return an error for what is not even a request, as the dialect at ``path`` has it."""
        self._metrics.on_error(error)
        name = new_name()
        response = respond(self.paths.find(path), error, name)
        response.headers["X-Request-Id"] = name
        return response
