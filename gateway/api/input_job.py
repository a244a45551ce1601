"""The job of a request whose inputs get a vector or a score each: nothing is generated."""

import time

from starlette.requests import Request

from gateway.api import body, urgency
from gateway.api.client import client_of
from gateway.core.api_key import ApiKey
from gateway.dispatch.job import Job
from workers.protocol import Embedding, GenerationParams, Prompt, Ranking, Sampling


def input_job(
    request: Request,
    prompts: tuple[Prompt, ...],
    wanted: Embedding | Ranking,
    *,
    priority: float | str | None,
    timeout: float | None,
    size: int,
    model: str,
    keep_alive: float | None = None,
) -> Job:
    """Return the job in the name of the request's key; ``size``: the body's bytes."""
    key: ApiKey = request.state.key
    return Job(
        prompts=prompts,
        params=GenerationParams(
            Sampling(seed=0),
            embedding=wanted if isinstance(wanted, Embedding) else None,
            ranking=wanted if isinstance(wanted, Ranking) else None,
        ),
        priority=urgency.asked_priority(request, priority),
        created=time.time(),
        timeout=urgency.timeout(timeout, request.headers),
        size=size,
        owner=key.name,
        client=client_of(request),
        weight=key.weight,
        model=model,
        keep_alive=keep_alive,
        ignored=getattr(request.state, "ignored", ""),
        **body.line_fields(request),
    )
