"""Probabilities of many tokens: they stay in memory until an answer that is not streamed ends."""

import tracemalloc
from typing import Any

import orjson
import pytest

from gateway.api import body
from gateway.api.llama_server.answer import LlamaWriter, probabilities
from gateway.api.llama_server.body import MAX_PROBS, InfillBody, LlamaBody, LlamaCompletionBody
from gateway.dispatch.ticket import Ticket
from tests.support.desk import Desk
from tests.support.memory_pool import job
from workers.protocol import Delta, Extra, Logprob, TokenChance

TOKENS = 50


def told(at: int) -> Logprob:
    """A token with as many alternatives as there may be."""
    top = [TokenChance(at * 200 + k, b" token%d" % k, -1.2345678 * k) for k in range(MAX_PROBS)]
    return Logprob(top[0], top)


def written(**wish: Any) -> LlamaWriter:
    """The writer of an answer of many tokens."""
    given = body.parse(LlamaCompletionBody, {"prompt": "x", "n_probs": MAX_PROBS, **wish})
    writer = LlamaWriter(Ticket(1, job(), 0), Desk().registry.first, given)
    for at in range(TOKENS):
        writer.take(Delta(1, 1, [at], "a", Extra(logprobs=[told(at)])))
    return writer


def test_they_are_told_as_they_came() -> None:
    found = orjson.loads(orjson.dumps(written().whole()))["completion_probabilities"]
    assert found == [probabilities([told(at)])[0] for at in range(TOKENS)]


def test_they_take_little_room() -> None:
    """As objects they took 400 bytes for each alternative."""
    tracemalloc.start()
    try:
        writer = written()
        room, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert writer.whole()["completion_probabilities"]
    assert room < 150 * MAX_PROBS * TOKENS


def test_they_are_kept_only_if_they_are_wanted() -> None:
    assert not written(response_fields=["content"])._answers[0].probabilities
    some = written(response_fields=["completion_probabilities"])
    assert len(some.whole()["completion_probabilities"]) == TOKENS


@pytest.mark.parametrize("type_", [LlamaCompletionBody, InfillBody])
def test_the_field_is_named_where_they_are_kept(type_: type[LlamaBody]) -> None:
    """Probabilities that a stream tells, or that are not wanted, are not kept."""
    raw = {"prompt": "a"} | (
        {} if type_ is LlamaCompletionBody else {"input_prefix": "a", "input_suffix": "b"}
    )
    kept = {
        str(wish): body.parse(type_, {**raw, **wish}).kept()
        for wish in (
            {},
            {"n_probs": 1},
            {"n_probs": 1, "stream": True},
            {"n_probs": 1, "response_fields": ["content"]},
        )
    }
    assert list(kept.values()) == ["", "n_probs", "", ""]
