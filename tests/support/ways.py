"""Requests of every dialect to a gateway whose only worker, with one slot, the test plays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from gateway.config.api_keys import digest
from gateway.core.api_key import ApiKey
from tests.support.dialects import Failure, Way
from tests.support.played_front import Front

FREE = ApiKey("app", digest("sk-app"))
BATCH = {"Authorization": "Bearer sk-batch"}


@asynccontextmanager
async def serving(front: Front) -> AsyncIterator[Front]:
    """A front from its start to its end, at which nothing may be left."""
    await front.gateway.start()
    try:
        yield front
    finally:
        await front.client.aclose()
        await front.gateway.stop()
    assert front.pool.leaks() == []


Asking = asyncio.Task[httpx.Response]


def ask(front: Front, way: Way, headers: dict[str, str] | None = None, **params: Any) -> Asking:
    post = front.client.post(way.path, json=way.body(**params), headers=headers)
    return asyncio.create_task(post)


async def refused(way: Way, asking: Asking) -> tuple[Failure, httpx.Headers]:
    """The error of a request, which comes with a status of its own: nothing was streamed yet."""
    response = await asking
    assert response.status_code != 200
    return way.dialect.refusal(response), response.headers


def answer(front: Front, id_: int, tokens: int = 2, reason: str = "stop") -> None:
    """Play a generation from its slot to its end."""
    front.pool.begin(id_)
    for _ in range(tokens - 1):
        front.pool.progress(id_)
    front.pool.finish(id_, reason)
