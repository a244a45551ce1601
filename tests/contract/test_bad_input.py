"""Mistakes in a body, each named in the dialect's own shape."""

from typing import Any

import httpx
import pytest

from tests.support.dialects import CHAT, COMPLETIONS, INFER, Dialect

BROKEN = {
    "empty": b"",
    "cut": b'{"query": "a", "messages": [',
    "not UTF-8": b'{"query": "\xff\xfe", "prompt": "\xff\xfe"}',
    "not JSON's": b'{"query": NaN}',
    "array": b"[]",
    "string": b'"hello"',
    "null": b"null",
    "two values": b"{} {}",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_not_a_json_object(front: httpx.Client, dialect: Dialect, content: bytes) -> None:
    failure = dialect.refusal(front.post(dialect.path, content=content))
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", None)


BAD_VALUES: dict[str, list[Any]] = {
    "max_tokens": [-2, 1.5, "5.5", "five", True, 2**31],
    "temperature": [-0.1, 101, "warm", "", True, []],
    "top_p": [-0.1, 1.1, "x"],
    "top_k": [-2, 1.5, 2**31],
    "min_p": [-0.1, 1.1],
    "seed": [2**63, -(2**63) - 1, 2**70, 1.5, "7 8"],
    "presence_penalty": [-2.1, 2.1, "x"],
    "frequency_penalty": [-2.1, 2.1],
    "repeat_penalty": [0, -1, 11],
    "ignore_eos": [1, "yes"],
    "priority": ["soon", "2", "nan", [], {}, True],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_VALUES.items() for value in values]
)
def test_bad_value(front: httpx.Client, dialect: Dialect, field: str, value: Any) -> None:
    if dialect.fractions and value == 1.5:
        pytest.skip("it is 1 there")
    failure = dialect.refusal(front.post(dialect.path, json=dialect.body(**{field: value})))
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", field)
    assert field in failure.message


@pytest.mark.parametrize("value", [[3], 5, {}, ["x"] * 17, ["a", 3]])
def test_bad_stop(front: httpx.Client, dialect: Dialect, value: Any) -> None:
    failure = dialect.refusal(front.post(dialect.path, json=dialect.body(stop=value)))
    assert (failure.status, failure.code) == (400, "invalid_request")
    # An element may be named by its index.
    assert failure.param is not None
    assert failure.param in {"stop", "stop.0", "stop.1"}


OWN_BAD_VALUES: list[tuple[Dialect, str, Any]] = [
    (INFER, "query", ""),
    (INFER, "query", 5),
    (INFER, "query", None),
    (INFER, "query", ["a"]),
    (INFER, "raw", "yes"),
    (CHAT, "messages", []),
    (CHAT, "messages", "hello"),
    (CHAT, "messages", None),
    (CHAT, "max_completion_tokens", -2),
    (COMPLETIONS, "prompt", 5),
    (COMPLETIONS, "prompt", None),
    *((dialect, "model", 5) for dialect in (CHAT, COMPLETIONS)),
    *((dialect, "stream", "yes") for dialect in (CHAT, COMPLETIONS)),
    *((dialect, "service_tier", "gold") for dialect in (CHAT, COMPLETIONS)),
]


@pytest.mark.parametrize(("dialect", "field", "value"), OWN_BAD_VALUES, ids=str)
def test_bad_value_of_one_dialect(
    front: httpx.Client, dialect: Dialect, field: str, value: Any
) -> None:
    body = {**dialect.body(), field: value}
    failure = dialect.refusal(front.post(dialect.path, json=body))
    assert (failure.status, failure.code, failure.param) == (400, "invalid_request", field)


def test_the_prompt_is_required(front: httpx.Client, dialect: Dialect) -> None:
    if dialect.loads:
        assert front.post(dialect.path, json={}).json()["done_reason"] == "load"
        return
    failure = dialect.refusal(front.post(dialect.path, json={}))
    assert (failure.status, failure.param) == (400, dialect.field)
    assert "required" in failure.message


BAD_MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"role": "wizard", "content": "a"}, "messages.0.role"),
    ({"content": "a"}, "messages.0.role"),
    ({"role": "user"}, "messages.0.content"),
    ({"role": "user", "content": None}, "messages.0.content"),
    ({"role": "user", "content": 3}, "messages.0.content"),
    ({"role": "user", "content": []}, "messages.0.content"),
    ({"role": "user", "content": "a", "name": 5}, "messages.0.name"),
]


@pytest.mark.parametrize(("message", "param"), BAD_MESSAGES, ids=str)
def test_bad_message(front: httpx.Client, message: dict[str, Any], param: str) -> None:
    failure = CHAT.refusal(front.post(CHAT.path, json={"messages": [message]}))
    assert (failure.status, failure.param) == (400, param)


def test_only_text_parts(front: httpx.Client) -> None:
    image = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}
    body = {"messages": [{"role": "user", "content": [image]}]}
    failure = CHAT.refusal(front.post(CHAT.path, json=body))
    assert failure.status == 400
    assert failure.param is not None
    assert failure.param.startswith("messages.0.content")


def test_text_parts_are_joined(http: httpx.Client) -> None:
    parts = [{"type": "text", "text": "what is"}, {"type": "text", "text": "2+2?"}]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 1}
    whole = CHAT.ask(http, "what is\n2+2?", max_tokens=1)
    response = http.post(CHAT.path, json=body)
    assert response.json()["usage"]["prompt_tokens"] == whole.usage["prompt_tokens"]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_known_roles(answering: httpx.Client, role: str) -> None:
    first = {"role": role, "content": "Be brief."}
    if role == "tool":
        first["tool_call_id"] = "call_1"
    body = {"messages": [first, {"role": "user", "content": "hi"}], "max_tokens": 1}
    response = answering.post(CHAT.path, json=body)
    assert response.status_code == 200, response.text


def test_one_limit_only(front: httpx.Client) -> None:
    body = CHAT.body(max_tokens=5, max_completion_tokens=6)
    failure = CHAT.refusal(front.post(CHAT.path, json=body))
    assert (failure.status, failure.param) == (400, "max_tokens")
