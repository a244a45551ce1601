"""Rankings on a pool that the test plays: what they cost, and what else depends on the pool."""

import asyncio

import httpx
import pytest

from gateway.dispatch.rate_limits import estimate
from tests.support.memory_pool import MemoryPool, job
from tests.support.played_front import Front, until
from workers.protocol import Extra, Finished, ModelInfo, Ranking, Sampling, TextPair

pytestmark = pytest.mark.anyio

RANKS = ModelInfo(
    "m", "tiny", 1, 1, 10, 64, 64, 64, 4, 3, generates=False, embeds=False, ranks=True
)
BODY = {"query": "q", "documents": ["a", "b"]}


def finish(pool: MemoryPool, id_: int, score: float) -> None:
    """A pair got its score."""
    request = pool._release(id_)
    extra = Extra(score=score)
    pool.listener.on_event(Finished(id_, request.attempt, "stop", [], "", extra))
    pool.listener.on_credit()


async def ask(front: Front, **params: object) -> httpx.Response:
    """The answer about two pairs of seven tokens, whose scores come in another order."""
    front.pool.model = RANKS
    await front.gateway.pool.start(front.gateway.dispatcher)
    loop = asyncio.create_task(front.gateway.dispatcher.run())
    asking = asyncio.create_task(front.client.post("/v1/rerank", json={**BODY, **params}))
    scores = iter((0.25, 0.75))
    for _ in range(2):
        await until(lambda: bool(front.pool.running()))
        id_ = max(front.pool.running())
        front.pool.begin(id_, prompt=7, cached=0)
        finish(front.pool, id_, next(scores))
    response = await asking
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
    return response


async def test_each_pair_is_a_sequence() -> None:
    front = Front()
    answer = (await ask(front)).json()
    scores = sorted(item["relevance_score"] for item in answer["results"])
    assert scores == [0.25, 0.75]
    assert answer["results"][0]["relevance_score"] == 0.75
    assert [request.prompt for request in front.pool.submitted] == [
        TextPair("q", "a", "query", "documents.0"),
        TextPair("q", "b", "query", "documents.1"),
    ]
    assert all(each.params.ranking == Ranking() for each in front.pool.submitted)
    assert front.pool.submitted[0].params.sampling == Sampling(seed=0)


async def test_what_a_key_pays() -> None:
    """The tokens of the pairs, and none for an answer that is never generated."""
    response = await ask(Front())
    assert response.json()["usage"] == {"prompt_tokens": 14, "total_tokens": 14}
    assert int(response.headers["x-ratelimit-remaining-tokens"]) >= 1000 - 14
    assert estimate(job(ranking=Ranking()), 10**6) == 1


async def test_they_say_nothing_of_a_usual_answer() -> None:
    front = Front()
    queue = front.gateway.dispatcher._queue.ordinary
    usual = queue._usual
    await ask(front)
    assert queue._usual == usual
    assert job(ranking=Ranking(), size=40).tokens(usual) == 10


async def test_what_a_model_can_do_is_asked_before_the_queue() -> None:
    front = Front()
    front.pool.model = RANKS
    for path, body in (
        ("/v1/embeddings", {"input": "x"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
    ):
        response = await front.client.post(path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "model_not_supported"
