"""The service behind all dialects: models, configuration and limits."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from gateway.accounting.accounts import Accounts
from gateway.api import body, json_body, kept_probabilities, token_ids
from gateway.api.abilities import senses
from gateway.api.field_policy import IgnoredFields
from gateway.api.ollama.names import own_name, shown
from gateway.config.config import Config
from gateway.config.live_config import LiveConfig
from gateway.conversation import ALL_SENSES
from gateway.core.api_key import ApiKey
from gateway.core.errors import (
    SHUTTING_DOWN,
    ContextOverflow,
    ForgeError,
    ModelNotSupported,
    StoreOff,
    Unavailable,
    UnknownModel,
)
from gateway.core.header_priority import first_met
from gateway.core.prompt_size import least_bytes
from gateway.core.trace import Trace, from_headers
from gateway.dispatch.dispatcher import TROUBLE_RETRY_S
from gateway.dispatch.job import Job
from gateway.dispatch.observer import Observer
from gateway.dispatch.rate_limits import RateLimiter
from gateway.dispatch.ticket import Ticket
from gateway.media.fetching import FetchTerms
from gateway.media.room import MediaRoom
from gateway.reloading.reloader import Reloader
from gateway.served.catalog_models import CatalogModels
from gateway.served.listing import ListedModel, listed
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel
from workers.protocol import Chat, ModelInfo, overflow_message, refusal

if TYPE_CHECKING:  # it brings SQLAlchemy, and most servers have no store
    from gateway.stored.store import Store

SHARES = 8
"""Bodies of the largest size that may be received and read at once."""
BESIDE_MEDIA = 64 * 1024
"""Bytes of a body for what is written around its media."""
FETCHES = 8
"""Addresses that are fetched at once."""

log = logging.getLogger("forge.api")


@dataclass(frozen=True, slots=True)
class Service:
    """Shared by all endpoints of one process."""

    live_config: LiveConfig
    registry: ModelRegistry
    limits: RateLimiter
    observer: Observer
    accounts: Accounts
    """Usage and keys."""
    on_ignored: Callable[[], None] = lambda: None
    """To be called when parameters of a request are ignored that it might want to know of."""
    catalog: CatalogModels | None = None
    """The models of the caches, if those are served."""
    store: "Store | None" = None
    """Files, batches and what else survives a restart, if there is a place for them."""
    reloader: Reloader | None = None
    """Reads the server's options again, when an operator asks for it."""
    fetch_terms: FetchTerms = field(default_factory=FetchTerms)
    """Rules for fetching media by their addresses."""
    media_room: MediaRoom = field(default_factory=MediaRoom)
    """The memory for bodies with media."""
    fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES))
    started: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    @property
    def config(self) -> Config:
        """Return the server's options as they are now."""
        return self.live_config.now

    def stored(self) -> "Store":
        """Return the store, which is open. Raises StoreOff."""
        if self.store is None:
            raise StoreOff(
                "this server keeps no files and batches: start it with --data-dir FOLDER"
            )
        self.store.check()
        return self.store

    def check_serving(self, served: ServedModel) -> None:
        """Raises :class:`Unavailable` if a model's request that comes now could not be served."""
        self.check_open()
        if served.pool.trouble is not None:
            raise Unavailable(served.pool.trouble, retry_after=TROUBLE_RETRY_S)
        if not served.on_demand and not served.pool.ready() and served.settled.is_set():
            raise Unavailable("no worker is ready yet", retry_after=1)

    def check_healthy(self) -> None:
        """Raises :class:`Unavailable` if no model's request that comes now could be served.

        Nothing is told of any model: this is for clients without a key.
        """
        self.check_open()
        pools = [each.pool for each in self.registry.models]
        if all(pool.trouble is not None for pool in pools):
            message = "no worker can be started; requests and the log tell why"
            raise Unavailable(message, retry_after=TROUBLE_RETRY_S)
        waits = (
            not each.on_demand and not each.pool.ready() and each.settled.is_set()
            for each in self.registry.models
        )
        if all(waits):
            raise Unavailable("no worker is ready yet", retry_after=1)

    def check_open(self) -> None:
        """Raises :class:`Unavailable` if the server is about to end."""
        if self.registry.draining:
            raise Unavailable(SHUTTING_DOWN, retry_after=5)

    def models(self, request: Request) -> list[ServedModel]:
        """Return the models that a request's key may use."""
        key: ApiKey = request.state.key
        return [served for served in self.registry.models if key.may_use(served.name)]

    def find(self, request: Request, name: object) -> ServedModel | None:
        """Return the model that a request names, if its key may use that one; for None the first.

        A model that the key may not use is not there for it: no answer tells it from none.
        """
        return self.find_for(request.state.key, name)

    def find_for(self, key: ApiKey, name: object) -> ServedModel | None:
        """Return the model that a key means by a name, as :meth:`find` does."""
        if name is None:
            may_use = (each for each in self.registry.models if key.may_use(each.name))
            return next(may_use, None)
        served = self._meant(name)
        return served if served is not None and key.may_use(served.name) else None

    async def listed(self, request: Request) -> list[ListedModel]:
        """Return all models that a request's key may use, those of the caches included."""
        key: ApiKey = request.state.key
        found = await listed(self.registry, self.catalog)
        return [each for each in found if key.may_use(each.name)]

    def unknown(self, request: Request, name: object) -> UnknownModel:
        """Return the error for a name that no model has which the request's key may use."""
        key: ApiKey = request.state.key
        adapted = [each.name for each in self.registry.adapted if key.may_use(each.name)]
        there = [*(served.name for served in self.models(request)), *adapted]
        return self.registry.unknown(name, there)

    async def read(self, request: Request, *, media: bool = False) -> tuple[dict[str, Any], int]:
        """Return the JSON object in a body, and the body's bytes. Raises as :func:`json_body.read`.

        ``media``: it may have pictures and sound. Where a model takes some, a body that is larger
        than text may be is read as :mod:`gateway.media.lifting` has it; what was lifted, and its
        share of the memory for all such bodies, are in the request's state.
        """
        config = self.config
        most = self.most_body()
        if not media or most == config.max_body:
            return await json_body.read(request, config.max_body, config.body_timeout)
        owner: str = request.state.key.name
        lease = self.media_room.lease(SHARES * most, config.max_body, owner)
        request.state.media_lease = lease
        value, size, lifted = await json_body.read_with_media(
            request, config.max_body, most, config.body_timeout, lease
        )
        request.state.lifted = lifted
        return value, size

    def most_body(self) -> int:
        """Return the most bytes of a body that may have pictures and sound, in base64."""
        config = self.config
        if self.catalog is None and not any(senses(each) for each in self.registry.models):
            return config.max_body
        return config.max_body + config.max_media * 4 // 3 + BESIDE_MEDIA

    def parse(
        self, request: Request, type_: type[body.Body], raw: dict[str, Any]
    ) -> tuple[ServedModel, body.Body]:
        """Return the model that a body names, and the body; with the model's sampling defaults.

        The only look-up of the model: it is passed on from here. Raises a BadRequest, or
        UnknownModel for a valid body.
        """
        self._note_priority(request)
        served = self.find(request, raw.get("model"))
        complete = getattr(type_, "completed", None)
        ignored = self._ignored(type_)
        defaults = None
        if served is not None and complete is not None:
            defaults = partial(complete, defaults=served.completed)
        # The wrong name is what a client should hear of, not that no model of it takes pictures.
        able = ALL_SENSES if served is None else senses(served)
        given = body.parse(type_, raw, ignored, defaults, able)
        request.state.ignored_fields = ignored
        self.tell_ignored(request, raw)
        if served is None:
            raise self.unknown(request, raw.get("model"))
        return served, given

    def _meant(self, name: object) -> ServedModel | None:
        """Return the model of a name, which may be the one that Ollama's lists show.

        Clients that learn the models' names there ask in other dialects, too.
        """
        served = self.registry.get(name)
        if served is None and isinstance(name, str):
            own = own_name(name, self.registry)
            served = self.registry.get(own) if shown(own) == name else None
        return served

    def _note_priority(self, request: Request) -> None:
        """Leave in the state what the operator's table says about a request's headers."""
        priority = first_met(self.config.header_priority, request.headers)
        if priority is not None:
            request.state.usual_priority = priority

    def parse_alone(
        self, request: Request, type_: type[body.Body], raw: dict[str, Any]
    ) -> body.Body:
        """Return a body that is for no model. Raises a BadRequest."""
        ignored = self._ignored(type_)
        given = body.parse(type_, raw, ignored)
        request.state.ignored_fields = ignored
        self.tell_ignored(request, raw)
        return given

    def _ignored(self, type_: type[body.Body]) -> IgnoredFields | None:
        """Return the place for names of unknown fields; None: they are refused."""
        open_ended: bool = getattr(type_, "open_ended", False)  # a dialect that grows by the month
        strict = self.config.unknown_parameters == "refuse" and not open_ended
        return None if strict else IgnoredFields()

    def tell_ignored(self, request: Request, raw: dict[str, Any]) -> None:
        """Note what of a body was ignored so far, for the response's headers and the log."""
        ignored: IgnoredFields | None = request.state.ignored_fields
        if ignored is None or not ignored.count:
            return
        told = getattr(request.state, "ignored", None)
        if told is None:
            self.on_ignored()
        request.state.ignored = ignored.header(raw)
        if request.state.ignored != told:  # a dialect may find more of them later
            log.debug("%s ignores %s", request.scope["path"], request.state.ignored)

    def promote(self, ticket: Ticket, priority: float) -> None:
        """Make a spare request an ordinary one; see :meth:`Dispatcher.promote`."""
        served = self.registry.get(ticket.job.model or None)
        if served is not None:
            served.dispatcher.promote(ticket, priority)

    def submit(self, request: Request, job: Job, served: ServedModel) -> Ticket:
        """Queue the job of a request for a model. Raises a ForgeError if it can't be accepted.

        ModelNotSupported is one of them, and ContextOverflow: the bytes alone may show that a
        prompt can't fit. Before a worker has told about the model, it is left to the workers. Only
        a job that is accepted counts against its owner's limits.
        """
        model, key = served.pool.model, request.state.key
        job = kept_probabilities.bounded(
            served.adapted(served.limited(job), key.may_use),
            None if model is None else model.n_ctx_seq,
        )
        job = _followed(job, request)
        try:
            return self._submit(request, job, served)
        except ForgeError as error:
            self.observer.on_refused(job, error)
            raise

    def _submit(self, request: Request, job: Job, served: ServedModel) -> Ticket:
        allowance = self.limits.of(job.owner)
        request.state.allowance = allowance  # for the response's headers
        model = served.pool.model
        if model is not None:
            _check_kind(job, model, served.name)
            _check_size(job, model)
            biased = [id_ for id_, _ in job.params.sampling.logit_bias]
            token_ids.check(biased, model.n_vocab, "logit_bias")
            token_ids.check(job.params.stop_token_ids, model.n_vocab, "stop_token_ids")
        allowance.check()
        ticket = served.dispatcher.submit(job)
        served.adapters.use(job.params.adapters)
        self.limits.began(ticket)
        request.state.ticket = ticket  # for the response's headers, too
        return ticket


def _followed(job: Job, request: Request) -> Job:
    """Return a job as part of its request's trace and capture, if it has them.

    Where no spans are kept, the client's trace is still worth a place in the log.
    """
    trace = trace_of(request)
    if request.scope["state"].get("captured"):
        job = replace(job, captured=True)
    return job if trace is None else replace(job, trace=trace)


def trace_of(request: Request) -> Trace | None:
    """Return the trace that a request belongs to, which its client may have begun."""
    state = request.scope["state"]
    if "trace" in state:
        found: Trace | None = state["trace"]
        return found
    return from_headers(request.scope["headers"])


def _check_size(job: Job, model: ModelInfo) -> None:
    """The bytes alone may show that a prompt can't fit, and must not be cut.

    Tokenisers of models that rank make one token of any unknown word.
    """
    params = job.params
    embeds_cut = params.embedding is not None and params.embedding.cut
    if params.ranking is not None or params.cut_after is not None or embeds_cut:
        return
    limit = min(model.n_ctx_seq, params.context or model.n_ctx_seq)
    for index, prompt in enumerate(job.prompts):
        tokens = -(-least_bytes(prompt, model.longest_piece) // model.longest_piece)
        if tokens <= limit:
            continue
        what, param = "messages" if isinstance(prompt, Chat) else "prompt", None
        if params.embedding is not None:
            what, param = "input", f"input.{index}" if len(job.prompts) > 1 else "input"
        message = overflow_message(what, f"at least {tokens}", limit, param)
        raise ContextOverflow(message, n_prompt_tokens=tokens, n_ctx=limit, param=param)


def _check_kind(job: Job, model: ModelInfo, name: str) -> None:
    """A model may be made for one kind of work only; the worker would refuse the other, later."""
    able = {"generates": model.generates, "embeds": model.embeds, "ranks": model.ranks}
    message = refusal(f"'{name}'", job.params, **able)
    if message is not None:
        raise ModelNotSupported(message, param="model")
