"""Parts of answers: the fields that are wanted, probabilities, progress."""

import math
from typing import Any

import pytest

from gateway.api.llama_server.answer import chosen, probabilities
from workers.protocol import Logprob, TokenChance

ANSWER = {"content": "a", "timings": {"prompt_n": 3, "prompt_ms": 1.5}, "tokens": []}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["content"], {"content": "a"}),
        (["timings/prompt_n", "tokens"], {"timings/prompt_n": 3, "tokens": []}),
        (["timings"], {"timings": {"prompt_n": 3, "prompt_ms": 1.5}}),
        (["", "other", "timings/x", "content/x", "timings/prompt_n/x", "/content"], {}),
    ],
)
def test_fields_that_are_wanted(names: list[str], expected: dict[str, Any]) -> None:
    assert chosen(names, ANSWER) == expected


def test_probabilities() -> None:
    found = probabilities(
        [Logprob(TokenChance(5, b"\xe2\x82", -0.5), [TokenChance(7, "é".encode(), -math.inf)])]
    )
    top = {"id": 7, "token": "é", "bytes": [195, 169], "logprob": -9999.0}
    assert found == [
        {"id": 5, "token": "", "bytes": [226, 130], "logprob": -0.5, "top_logprobs": [top]}
    ]
