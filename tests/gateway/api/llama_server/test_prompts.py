"""The forms of a prompt that llama-server takes."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.api.llama_server.prompts import MAX_PROMPTS, Prompts
from workers.protocol import Mixed, Prompt, Text, Tokens

READ: TypeAdapter[list[Any]] = TypeAdapter(Prompts)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", [Text("a")]),
        ("", [Text("")]),
        ([1, 2], [Tokens([1, 2])]),
        ([1, "a", 2], [Mixed([1, "a", 2])]),
        (["a", 1], [Mixed(["a", 1])]),
        (["a", "b"], [Text("a"), Text("b")]),
        ([[1, 2], "a"], [Tokens([1, 2]), Text("a")]),
        ([["a", "b"], [1]], [Mixed(["a", "b"]), Tokens([1])]),
        ({"prompt_string": "a"}, [Text("a")]),
        ({"prompt_string": [1, "a"], "multimodal_data": []}, [Mixed([1, "a"])]),
        ([{"prompt_string": "a"}, [1]], [Text("a"), Tokens([1])]),
    ],
)
def test_forms(given: Any, expected: list[Prompt]) -> None:
    assert READ.validate_python(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "should be a string"),
        (5, "should be a string"),
        ([], "not be empty"),
        ([True], "should be a string"),
        ([1, True], "texts and token ids, not True"),
        ([1, -1], "not -1"),
        ([1, 2**31], "not 2147483648"),
        ([1, 1.5], "not 1.5"),
        ([[1, [2]]], "texts and token ids"),
        ([1, [2]], "texts and token ids"),
        ({}, "should be a string"),
        ({"prompt_string": 5}, "should be a string"),
        ({"prompt_string": "a", "multimodal_data": ["AA=="]}, "takes text alone"),
        (["a"] * (MAX_PROMPTS + 1), "256 prompts at most"),
    ],
)
def test_refused(given: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        READ.validate_python(given)
