"""Lengths in Ollama's dialect: of answers, of conversations that are cut, and of vectors."""

import math
from typing import Any

import httpx
import pytest

from tests.support.ollama_requests import (
    CHAT,
    CONTEXT,
    EMBED,
    EMBEDDINGS,
    ENDLESS,
    GENERATE,
    GREEDY,
    WORDS,
    post,
    said,
)

# ------------------------------------------------------------------ lengths


def test_num_predict_and_num_ctx(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"messages": [said("count")]}
    short = post(http, CHAT, **asked, options={**ENDLESS, "num_predict": 7})
    assert (short["eval_count"], short["done_reason"]) == (7, "length")
    capped = post(http, CHAT, **asked, options={**ENDLESS, "num_ctx": 64})
    assert capped["prompt_eval_count"] + capped["eval_count"] == 64
    assert capped["done_reason"] == "length"
    wide = post(http, CHAT, **asked, options={**ENDLESS, "num_ctx": 131072, "num_predict": 9})
    assert wide["eval_count"] == 9


def history(turns: int) -> list[dict[str, Any]]:
    found = [said("Be brief.", "system")]
    for n in range(turns):
        found += [said(f"{n}: {WORDS * 5}"), said(f"{n}: {WORDS}", "assistant")]
    return [*found, said("what is 2+2?")]


def tokens(client: httpx.Client, messages: list[dict[str, Any]]) -> int:
    """The tokens of a conversation that begins with instructions."""
    system, *rest = messages
    body = {"messages": rest, "system": system["content"]}
    counted: int = client.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    return counted


def test_a_long_conversation_loses_its_oldest_turns(exact_http: httpx.Client) -> None:
    """As many as it has to, and none of its instructions."""
    options = {**GREEDY, "num_predict": 40}
    system, *turns = history(60)
    answer = post(exact_http, CHAT, messages=[system, *turns], options=options)
    count, room = answer["prompt_eval_count"], CONTEXT - 40
    kept = next(
        n for n in range(1, 61) if tokens(exact_http, [system, *turns[-2 * n - 1 :]]) >= count
    )
    assert tokens(exact_http, [system, *turns[-2 * kept - 1 :]]) == count <= room
    assert tokens(exact_http, [system, *turns[-2 * kept - 3 :]]) > room
    shorter = post(exact_http, CHAT, messages=[system, *turns[-2 * kept - 1 :]], options=options)
    assert shorter["message"] == answer["message"]


def test_a_message_that_is_too_long_is_cut(http: httpx.Client) -> None:
    long = WORDS * 1000
    for path, body in ((CHAT, {"messages": [said(long)]}), (GENERATE, {"prompt": long})):
        answer = post(http, path, **body, options={"num_predict": 20})
        assert answer["prompt_eval_count"] == CONTEXT - 20
        found = post(http, path, 400, **body, truncate=False)
        assert found["code"] == "context_length_exceeded"
        assert (found["n_ctx"], found["n_prompt_tokens"] > CONTEXT) == (CONTEXT, True)
        narrow = post(http, path, 400, **body, truncate=False, options={"num_ctx": 100})
        assert narrow["n_ctx"] == 100
        answer = post(http, path, **body, options={"num_ctx": 100, "num_predict": 20})
        assert answer["prompt_eval_count"] == 80


# ------------------------------------------------------------------ vectors


def test_vectors(http: httpx.Client) -> None:
    texts = ["what is 2+2?", "hello"]
    found = post(http, EMBED, input=texts)
    assert found["model"] == "forge-tiny"
    assert found["prompt_eval_count"] > 2
    assert found["total_duration"] >= found["load_duration"] >= 0
    plain = http.post("/v1/embeddings", json={"input": texts}).json()
    for vector, item in zip(found["embeddings"], plain["data"], strict=True):
        assert vector == pytest.approx(item["embedding"], abs=1e-5)
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
    (one,) = post(http, EMBED, input=texts[0], dimensions=8)["embeddings"]
    assert len(one) == 8
    old = post(http, EMBEDDINGS, prompt=texts[0])
    assert old.keys() == {"embedding"}
    assert old["embedding"] == pytest.approx(found["embeddings"][0], abs=1e-2)


def test_no_vectors(answering: httpx.Client) -> None:
    nothing: tuple[Any, ...] = ([], "", None)
    for empty in nothing:
        assert post(answering, EMBED, input=empty)["embeddings"] == []
    assert post(answering, EMBEDDINGS, prompt="") == {"embedding": []}


def test_long_inputs(http: httpx.Client) -> None:
    long = WORDS * 1000
    found = post(http, EMBED, input=[long, "hello"])
    assert [bool(vector) for vector in found["embeddings"]] == [True, True]
    assert found["prompt_eval_count"] > CONTEXT
    assert post(http, EMBEDDINGS, prompt=long)["embedding"]
    refused = post(http, EMBED, 400, input=["hello", long], truncate=False)
    assert (refused["code"], refused["param"]) == ("context_length_exceeded", "input.1")
