"""Probabilities that stay until an answer is whole: how many, how large, and what is refused."""

import asyncio
import tracemalloc
from typing import Any

import orjson
import pytest

from gateway.api.kept_probabilities import MOST, bounded, count
from gateway.api.openai.logprobs import token_json
from gateway.api.reply import Completion
from gateway.core.errors import BadRequest
from gateway.dispatch.job import Job
from tests.support.played_front import KEYS, Front, until
from workers.protocol import (
    Delta,
    Extra,
    GenerationParams,
    Logprob,
    Sampling,
    Text,
    TokenChance,
)


def job(keeps: str = "n_probs", n: int = 1, **params: Any) -> Job:
    made = GenerationParams(Sampling(1), **{"logprobs": 19, **params})
    return Job((Text("a"),), made, 1.0, 0.0, n=n, keeps=keeps)


def limit(*args: Any, context: int | None = None, **params: Any) -> int | None:
    return bounded(job(*args, **params), context).params.max_tokens


def test_an_answer_is_as_long_as_there_is_room_for_its_probabilities() -> None:
    """20 of each token: so many tokens have room, in all answers of the request."""
    most = MOST // 20
    assert limit() == most
    assert limit(context=10**6) == most
    assert limit(n=4) == most // 4
    assert limit(context=most) is None, "the context ends it before"
    assert limit(max_tokens=most) == most
    assert limit(max_tokens=10**6, context=512) == 10**6
    assert limit(context=10**6, max_tokens=5, n=128) == 5
    assert bounded(job(context=300, n=8), 10**6).params.max_tokens is None


def test_what_is_streamed_or_asks_for_none_has_no_bound() -> None:
    assert limit("", max_tokens=10**6) == 10**6
    assert limit(max_tokens=10**6, logprobs=None) == 10**6


@pytest.mark.parametrize("context", [None, 10**6])
def test_more_is_refused_by_the_fields_name(context: int | None) -> None:
    with pytest.raises(BadRequest) as error:
        limit("top_logprobs", context=context, max_tokens=30_000, n=2)
    assert error.value.param == "top_logprobs"
    assert error.value.message.startswith(
        "'top_logprobs': with 20 probabilities of each token each of 2 answers may have 13107 "
        "tokens at most, for a request keeps 524288 of them"
    )


CHAT = {"messages": [{"role": "user", "content": "a"}]}
PROBABLE = {"logprobs": True, "top_logprobs": 20}
WIDE: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {**CHAT, **PROBABLE, "max_tokens": 30_000}, "top_logprobs"),
    ("/v1/chat/completions", {**CHAT, "logprobs": True, "max_tokens": 600_000}, "logprobs"),
    ("/v1/completions", {"prompt": "a", "logprobs": 20, "max_tokens": 30_000}, "logprobs"),
    ("/completion", {"prompt": "a", "n_probs": 100, "n_predict": 6000}, "n_probs"),
    ("/completion", {"prompt": ["a"] * 256, "n_probs": 100, "n_predict": 21}, "n_probs"),
    ("/v1/responses", {"input": "a", "top_logprobs": 20, "max_output_tokens": 30_000},
     "top_logprobs"),
    ("/api/generate", {"prompt": "a", "model": "m", **PROBABLE, "options": {"num_predict": 30_000}},
     "top_logprobs"),
]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "body", "field"), WIDE)
async def test_each_dialect_says_which_field(path: str, body: dict[str, Any], field: str) -> None:
    """Of a model whose context is unknown; a stream has no bound, unless it keeps all of it."""
    front = Front([KEYS[0]], alias="m")
    await front.gateway.start()
    try:
        answer = await front.client.post(path, json={**body, "stream": False})
        assert answer.status_code == 400, answer.text
        assert f"'{field}': with " in answer.text
        if path != "/v1/responses":
            asking = asyncio.create_task(front.client.post(path, json={**body, "stream": True}))
            await until(lambda: bool(front.pool.submitted))
            asking.cancel()
    finally:
        await front.client.aclose()
        await front.gateway.stop()


def token(id_: int) -> Logprob:
    chances = [TokenChance(id_ + at, b" word", -0.7071067811865475 * at) for at in range(20)]
    return Logprob(chances[0], chances[1:])


def delta(tokens: int) -> Delta:
    found = [token(at) for at in range(tokens)]
    return Delta(1, 1, list(range(tokens)), "x", Extra(logprobs=found))


def test_a_prompt_counts_when_it_is_told() -> None:
    told, kept = delta(1000), 0
    for _ in range(2 * MOST // 20_000):
        kept = count(job("logprobs"), told, kept)
    assert 2 * MOST - 20_000 < kept <= 2 * MOST
    with pytest.raises(BadRequest, match="the prompt's included"):
        count(job("logprobs"), told, kept)
    assert count(job(""), told, 5) == 5


def test_what_is_kept_is_small() -> None:
    """Some 90 bytes for each probability; as objects it would be ten times as much."""
    tracemalloc.start()
    try:
        completion = Completion(probable=token_json)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            completion.take(delta(20))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 120 * 50 * 20 * 20
    (first, *_) = orjson.loads(orjson.dumps(completion.logprobs))
    assert first["token"] == " word"
    assert len(first["top_logprobs"]) == 19
