"""What the dialects are given: the models, the configuration, and what limits there are."""

import time
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from gateway.config.config import Config
from gateway.core.errors import (
    BadRequest,
    ContextOverflow,
    ForgeError,
    ModelNotSupported,
    Unavailable,
)
from gateway.core.prompt_size import least_bytes
from gateway.dispatch.dispatcher import TROUBLE_RETRY_S
from gateway.dispatch.job import Job
from gateway.dispatch.observer import Observer
from gateway.dispatch.rate_limits import RateLimiter
from gateway.dispatch.ticket import Ticket
from gateway.served.registry import ModelRegistry
from gateway.served.served_model import ServedModel
from workers.protocol import ModelInfo


@dataclass(frozen=True, slots=True)
class Service:
    """Shared by all endpoints of one process."""

    config: Config
    fleet: ModelRegistry
    limits: RateLimiter
    observer: Observer
    started: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds."""

    def check_serving(self, lane: ServedModel | None = None) -> None:
        """Raises :class:`Unavailable` if a request that comes now could not be served.

        None: whichever model it is for.
        """
        if self.fleet.draining:
            raise Unavailable("the server is shutting down", retry_after=5)
        lanes = self.fleet.lanes if lane is None else [lane]
        if all(each.pool.trouble is not None for each in lanes):
            raise Unavailable(str(lanes[0].pool.trouble), retry_after=TROUBLE_RETRY_S)
        if all(each.keeper is None and not each.pool.ready() for each in lanes):
            raise Unavailable("no worker is ready yet", retry_after=1)

    def lane(self, name: str | None) -> ServedModel:
        """The model of this name, the first if there is none. Raises UnknownModel."""
        return self.fleet.find(name)

    def completed(self, raw: dict[str, Any]) -> dict[str, Any]:
        """A body with its model's defaults for what it does not say.

        One that names no model of ours is left as it is: it is refused later.
        """
        name = raw.get("model")
        if not (name is None or (isinstance(name, str) and name in self.fleet.names)):
            return raw
        return self.fleet.find(name).completed(raw)

    def submit(self, request: Request, job: Job) -> Ticket:
        """Queue the job of a request. Raises a ForgeError if it can't be accepted.

        ModelNotSupported is one of them, and ContextOverflow: the bytes alone may show that a
        prompt can't fit. Before a worker has told about the model, it is left to the workers. Only
        a job that is accepted counts against its owner's limits.
        """
        try:
            return self._submit(request, job)
        except ForgeError as error:
            self.observer.on_refused(job, error)
            raise

    def _submit(self, request: Request, job: Job) -> Ticket:
        allowance = self.limits.of(job.owner)
        request.state.allowance = allowance  # for the response's headers
        lane = self.fleet.find(job.model or None)
        model = lane.pool.model
        if model is not None:
            _check_kind(job, model, lane.name)
            size = max(least_bytes(prompt, model.longest_piece) for prompt in job.prompts)
            if size > model.n_ctx_seq * model.longest_piece:
                raise ContextOverflow(
                    f"a prompt of {size} bytes can't fit the context of {model.n_ctx_seq} tokens",
                    param=None if job.params.embedding is None else "input",
                )
            _check_bias(job, model)
        allowance.check()
        ticket = lane.dispatcher.submit(job)
        allowance.take(job)
        request.state.ticket = ticket  # for the response's headers, too
        return ticket


def _check_bias(job: Job, model: ModelInfo) -> None:
    wrong = next((id_ for id_, _ in job.params.sampling.logit_bias if id_ >= model.n_vocab), None)
    if wrong is not None:
        last = model.n_vocab - 1
        message = f"'logit_bias': token ids of this model are 0 to {last}, not {wrong}"
        raise BadRequest(message, param="logit_bias")


def _check_kind(job: Job, model: ModelInfo, name: str) -> None:
    """A model may be made for one kind of work only; the worker would refuse the other, later."""
    if job.params.embedding is None and not model.generates:
        raise ModelNotSupported(f"'{name}' embeds and does not generate text", param="model")
    if job.params.embedding is not None and not model.embeds:
        raise ModelNotSupported(f"'{name}' ranks texts and gives no embeddings", param="model")
