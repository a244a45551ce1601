"""Conversations in Ollama's form, as templates read them."""

from typing import Any

import pytest

from gateway.api.body import parse
from gateway.api.field_policy import IgnoredFields
from gateway.api.ollama.body import OllamaChatBody
from gateway.core.errors import BadRequest, ImageNotSupported

ASKED = {"role": "user", "content": "What is the weather?"}


def read(*messages: dict[str, Any], ignored: IgnoredFields | None = None) -> list[Any]:
    body = parse(OllamaChatBody, {"messages": [*messages]}, ignored or IgnoredFields())
    return body.chat().messages


def called(*names: str, **fields: Any) -> dict[str, Any]:
    calls = [{"function": {"name": name, "arguments": {"city": name}}} for name in names]
    return {"role": "assistant", "content": "", "tool_calls": calls, **fields}


def result(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "content": text, **fields}


def test_roles_and_thoughts() -> None:
    found = read(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": "b"},
        {"role": "User"},
        {"role": "assistant", "content": "d", "thinking": "c"},
    )
    assert found == [
        {"role": "system", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "d", "reasoning_content": "c"},
    ]


def test_calls_get_ids_by_their_places() -> None:
    _, said, *_ = read(ASKED, called("Oslo", "Rome"))
    assert said["tool_calls"] == [
        {
            "id": f"call_1_{at}",
            "type": "function",
            "function": {"name": name, "arguments": {"city": name}},
        }
        for at, name in enumerate(("Oslo", "Rome"))
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [({"a": 1}, {"a": 1}), ('{"a": 1}', {"a": 1}), ("", {}), (None, {}), ('{"a', '{"a')],
)
def test_arguments(arguments: Any, found: Any) -> None:
    call = {"function": {"name": "f", "arguments": arguments, "index": 0}}
    _, said = read(ASKED, {"role": "assistant", "tool_calls": [call]})
    assert said["tool_calls"][0]["function"]["arguments"] == found


def ids(*results: dict[str, Any]) -> list[str]:
    """The calls that results belong to, after one of a, of b and of a again."""
    return [message["tool_call_id"] for message in read(ASKED, called("a", "b", "a"), *results)[2:]]


def test_results_belong_to_calls_by_id_by_name_or_by_order() -> None:
    first, second, third = "call_1_0", "call_1_1", "call_1_2"
    assert ids(result("x"), result("y"), result("z")) == [first, second, third]
    by_name = [result("x", tool_name="b"), result("y", tool_name="a"), result("z", tool_name="a")]
    assert ids(*by_name) == [second, first, third]
    assert ids(result("x", tool_name="a"), result("y"), result("z", tool_name="?")) == [
        first,
        second,
        third,
    ]
    assert ids(result("x", tool_call_id=third), result("y", tool_name="a"), result("z")) == [
        third,
        first,
        second,
    ]
    assert ids(result("x", tool_call_id="mine"))[0] == "mine"


def test_a_result_without_a_call() -> None:
    (found,) = read(result("x", tool_name="f"))
    assert (found["tool_call_id"], found["name"]) == ("call_0", "f")


def test_pictures() -> None:
    """Pictures of the user's newest message are refused; a text stands for earlier ones."""
    ignored = IgnoredFields()
    seen = {**ASKED, "images": ["iVBORw0KGgo="]}
    found = read(seen, {"role": "assistant", "content": "ok"}, ASKED, ignored=ignored)
    assert found[0]["content"].endswith("[image omitted: this model does not take images]")
    assert ignored.header({}) == "messages.0.images.0"
    with pytest.raises(ImageNotSupported, match=r"'messages\.1\.images\.0'") as caught:
        read(ASKED, seen)
    assert caught.value.param == "messages.1.images.0"
    assert read({**ASKED, "images": []}) == [ASKED]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "control", "content": "thinking"}, "messages.0.role"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.0.content"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages.0.tool_calls.0.function"),
        ("hello", "messages.0"),
    ],
)
def test_what_is_no_message_is_named(message: Any, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(OllamaChatBody, {"messages": [message]}, IgnoredFields())
    assert caught.value.param == field
