"""Embeddings on a pool that the test plays: what depends on the model, and what they cost."""

import asyncio
import struct
from typing import Any

import httpx
import pytest

from gateway.dispatch.rate_limits import estimate
from tests.support.memory_pool import MemoryPool, job
from tests.support.played_front import Front, until
from workers.protocol import Embedding, Extra, Finished, ModelInfo, Sampling

pytestmark = pytest.mark.anyio

RANKS = ModelInfo("m", "tiny", 1, 1, 10, 64, 64, 64, 4, 3, generates=False, embeds=False)


def finish(pool: MemoryPool, id_: int, *vector: float) -> None:
    """An input got its vector."""
    request = pool._release(id_)
    extra = Extra(vector=struct.pack(f"<{len(vector)}f", *vector))
    pool.listener.on_event(Finished(id_, request.attempt, "stop", [], "", extra))
    pool.listener.on_credit()


async def ask(front: Front, *vector: float, **params: Any) -> httpx.Response:
    """The answer to one input of seven tokens."""
    await front.gateway.pool.start(front.gateway.dispatcher)
    loop = asyncio.create_task(front.gateway.dispatcher.run())
    asking = asyncio.create_task(front.client.post("/v1/embeddings", json={"input": "x", **params}))
    await until(lambda: bool(front.pool.running()))
    (id_,) = front.pool.running()
    front.pool.begin(id_, prompt=7, cached=0)
    finish(front.pool, id_, *vector)
    response = await asking
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    return response


async def test_a_model_that_ranks() -> None:
    """It neither embeds nor generates; nobody waits in a queue for that."""
    front = Front()
    front.pool.model = RANKS
    for path, body in (("/v1/embeddings", {"input": "x"}), ("/v1/completions", {"prompt": "x"})):
        response = await front.client.post(path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "model_not_supported"
        assert response.json()["error"]["param"] == "model"


async def test_dimensions_when_the_model_was_not_known_yet() -> None:
    response = await ask(Front(), 0.6, 0.8, dimensions=3)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "dimensions"
    assert "have 2, not 3" in response.json()["error"]["message"]


async def test_what_a_key_pays() -> None:
    """The tokens of the inputs, and none for an answer that is never generated."""
    response = await ask(Front(), 0.6, 0.8)
    assert response.json()["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert int(response.headers["x-ratelimit-remaining-tokens"]) >= 1000 - 7
    assert estimate(job(embedding=Embedding()), 10**6) == 1
    assert estimate(job(), 10**6) > 1


async def test_they_say_nothing_of_a_usual_answer() -> None:
    front = Front()
    queue = front.gateway.dispatcher._queue.ordinary
    usual = queue._usual
    await ask(front, 0.6, 0.8)
    assert queue._usual == usual
    assert job(embedding=Embedding(), size=40).tokens(usual) == 10
    assert job(size=40).tokens(usual) > 10
    assert front.pool.submitted[0].params.sampling == Sampling(seed=0)


async def test_the_operators_table_of_headers_holds_for_them_too() -> None:
    front = Front(header_priority={"authorization: bearer*": "urgent"})
    await ask(front, 0.6, 0.8)
    assert front.pool.submitted[0].priority == 2.0
    await ask(front, 0.6, 0.8, priority="batch")
    assert front.pool.submitted[1].priority == 0.0
