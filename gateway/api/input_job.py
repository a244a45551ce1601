"""The job of a request whose inputs get a vector or a score each: nothing is generated."""

import time
from typing import Protocol

from starlette.requests import Request

from gateway.api import body
from gateway.core.api_key import ApiKey
from gateway.dispatch.job import Job
from workers.protocol import GenerationParams, Prompt


class Urgency(Protocol):
    """The fields of a body that say how soon it is to be served."""

    @property
    def priority(self) -> float | str | None: ...

    @property
    def timeout(self) -> float | None: ...


def input_job(
    request: Request,
    given: Urgency,
    prompts: tuple[Prompt, ...],
    params: GenerationParams,
    *,
    size: int,
    model: str,
) -> Job:
    """Return the job in the name of the request's key; ``size``: the body's bytes."""
    key: ApiKey = request.state.key
    return Job(
        prompts=prompts,
        params=params,
        priority=body.asked_priority(request, given.priority),
        created=time.time(),
        timeout=body.timeout(given.timeout, request.headers),
        size=size,
        owner=key.name,
        weight=key.weight,
        model=model,
        ignored=getattr(request.state, "ignored", ""),
    )
