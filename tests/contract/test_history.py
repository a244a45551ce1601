"""Conversations as clients send them back: whatever was said once can't be unsent, so it is served.

The gateway's part, by messages that each failed somewhere; what templates make of them is in
tests/workers.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.api.field_policy import HEADER
from gateway.config.config import Config
from tests.support.dialects import CHAT
from tests.support.front import blocking_front
from tests.support.server import ALIAS

HI = {"role": "user", "content": "hi"}
GO_ON = {"role": "user", "content": "go on"}
NOON = {"role": "tool", "tool_call_id": "c1", "content": "noon"}


def said(**fields: Any) -> list[dict[str, Any]]:
    """A conversation with an assistant's turn."""
    return [HI, {"role": "assistant", **fields}, GO_ON]


def called(arguments: Any = "{}", **fields: Any) -> list[dict[str, Any]]:
    """A conversation with a call; ``fields`` are the call's."""
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": arguments}}
    turn = {"role": "assistant", "content": None, "tool_calls": [{**call, **fields}]}
    return [HI, turn, NOON]


def answered(**fields: Any) -> list[dict[str, Any]]:
    """A conversation with a call and its result."""
    return [*called()[:2], {**NOON, **fields}]


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


HALF = '{"path": "a.t'
HISTORIES: dict[str, list[dict[str, Any]]] = {
    "thought alone": said(content=None, reasoning_content="let me see"),
    "nothing": said(),
    "null": said(content=None),
    "no parts": said(content=[]),
    "no text": said(content=""),
    "an empty part": said(content=[{"type": "text", "text": ""}]),
    "a part of null": said(content=[{"type": "text", "text": None}]),
    "no calls": said(content=None, tool_calls=[]),
    "null calls": said(content=None, tool_calls=None),
    "null refusal": said(content=None, refusal=None),
    "half an object": called(HALF),
    "an array": called("[]"),
    "a string": called('"x"'),
    "null in text": called("null"),
    "null arguments": called(None),
    "no arguments": called(function={"name": "now"}),
    "no text of arguments": called(""),
    "blank arguments": called(" \n"),
    "an object": called({"path": "a.txt"}),
    "a list": called(["a"]),
    "a number": called(5),
    "no id": called(id=None),
    "an empty id": called(id=""),
    "no type": called(type=None),
    "a name with a slash": called(function={"name": "a/b:c d.e", "arguments": "{}"}),
    "a long name": called(function={"name": "x" * 256, "arguments": "{}"}),
    "a null result": answered(content=None),
    "a result without parts": answered(content=[]),
    "a result in parts": answered(content=[{"type": "text", "text": "noon"}]),
    "a result that is an object": answered(content={"temperature": 31}),
    "a result without content": [*called()[:2], without(NOON, "content")],
    "a result without id": [*called()[:2], without(NOON, "tool_call_id")],
    "a result with a null id": answered(tool_call_id=None),
    "a result of no call": [HI, NOON, GO_ON],
    "a result with a name": answered(name="now"),
    "old functions": [
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "noon"},
    ],
    "a thought in parts": said(content=[{"type": "thinking", "thinking": "hm", "signature": "x"}]),
    "Mistral's thought": said(
        content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    ),
    "a reasoning item": said(
        content=[{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]
    ),
    "a hidden thought": said(content=[{"type": "redacted_thinking", "data": "AAAA"}]),
    "a refusal in parts": said(content=[{"type": "refusal", "refusal": "no"}]),
    "parts of responses": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "ho"}]},
        GO_ON,
    ],
    "a part that is a string": [{"role": "user", "content": ["hi", "there"]}],
    "a part without a type": [{"role": "user", "content": [{"text": "hi"}]}],
}


@pytest.mark.parametrize("messages", HISTORIES.values(), ids=HISTORIES)
def test_a_conversation_goes_on(answering: httpx.Client, messages: list[dict[str, Any]]) -> None:
    response = answering.post(CHAT.path, json={"messages": messages, "max_tokens": 1})
    assert response.status_code == 200, response.text
    assert HEADER not in response.headers


EPHEMERAL = {"type": "ephemeral"}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
HARMLESS: dict[str, dict[str, Any]] = {
    "a dumped answer": {
        "messages": said(
            content="2", refusal=None, annotations=[], audio=None, function_call=None,
            tool_calls=None,
        )
    },
    **{
        f"assistant {name}": {"messages": said(content="2", **{name: value})}
        for name, value in {
            "annotations": [],
            "audio": None,
            "function_call": None,
            "parsed": {"n": 1},
            "index": 0,
            "id": "msg_1",
            "name": "bot",
            "reasoning": "1+1",
            "reasoning_details": [],
            "thinking": "1+1",
            "thinking_blocks": [{"type": "thinking", "thinking": "1+1", "signature": "x"}],
            "provider_specific_fields": {"citations": None},
            "cache_control": EPHEMERAL,
        }.items()
    },
    "a call's index": {"messages": called(index=0)},
    "parsed arguments": {
        "messages": called(function={"name": "f", "arguments": "{}", "parsed_arguments": None})
    },
    "arguments that were parsed": {
        "messages": called(function={"name": "f", "arguments": "{}", "parsed_arguments": {"a": 1}})
    },
    "a result's name": {"messages": answered(name="now", id="r1")},
    "a part's cache_control": {
        "messages": [
            {
                "role": "system",
                "content": [{"type": "text", "text": "Be brief.", "cache_control": EPHEMERAL}],
            },
            HI,
        ]
    },
    "a part's breakpoint": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "hi", "prompt_cache_breakpoint": {}}],
            }
        ]
    },
    "a message's cache_control": {"messages": [{**HI, "cache_control": EPHEMERAL}]},
    "a result's cache_control": {"messages": answered(cache_control=EPHEMERAL)},
    "a call's cache_control": {"messages": called(cache_control=EPHEMERAL)},
    "a tool's cache_control": {
        "messages": [HI],
        "tools": [{**TOOL, "cache_control": EPHEMERAL}],
    },
    "a function's cache_control": {
        "messages": [HI],
        "tools": [
            {"type": "function", "function": {"name": "f", "cache_control": EPHEMERAL}},
        ],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def strict() -> Iterator[httpx.Client]:
    """A gateway that refuses unknown parameters, and answers."""
    with blocking_front(Config(alias=ALIAS, unknown_parameters="refuse"), answers=True) as client:
        yield client


@pytest.mark.parametrize("body", HARMLESS.values(), ids=HARMLESS)
def test_harmless_fields_are_ignored_silently(
    answering: httpx.Client, strict: httpx.Client, body: dict[str, Any]
) -> None:
    for client in (answering, strict):
        response = client.post(CHAT.path, json={**body, "max_tokens": 1})
        assert response.status_code == 200, response.text
        assert HEADER not in response.headers


UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"messages": [{**HI, "colour": 1}]}, "messages.0.colour"),
    ({"messages": [HI, {**HI, "colour": 1}]}, "messages.1.colour"),
    ({"messages": said(content="2", colour=[])}, "messages.1.colour"),
    ({"messages": answered(colour="red")}, "messages.2.colour"),
    ({"messages": called(colour=1)}, "messages.1.tool_calls.0.colour"),
    (
        {"messages": called(function={"name": "f", "arguments": "{}", "colour": 1})},
        "messages.1.tool_calls.0.function.colour",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "colour": 1}]}]},
        "messages.0.content.0.colour",
    ),
    ({"messages": [HI], "tools": [{**TOOL, "colour": 1}]}, "tools.0.colour"),
    (
        {"messages": [HI], "tools": [{**TOOL, "function": {"name": "f", "colour": 1}}]},
        "tools.0.function.colour",
    ),
]


@pytest.mark.parametrize(("body", "path"), UNKNOWN, ids=[path for _, path in UNKNOWN])
def test_unknown_fields_are_named(
    answering: httpx.Client, strict: httpx.Client, body: dict[str, Any], path: str
) -> None:
    response = answering.post(CHAT.path, json={**body, "max_tokens": 1})
    assert response.status_code == 200, response.text
    assert response.headers[HEADER] == path
    failure = CHAT.refusal(strict.post(CHAT.path, json=body))
    assert (failure.status, failure.code) == (400, "unknown_parameter")
    assert failure.param == path


def test_null_asks_for_nothing(answering: httpx.Client, strict: httpx.Client) -> None:
    body = {"messages": [{**HI, "colour": None}], "max_tokens": 1}
    for client in (answering, strict):
        response = client.post(CHAT.path, json=body)
        assert response.status_code == 200, response.text
        assert HEADER not in response.headers


PNG = "data:image/png;base64,iVBORw0KGgo="
MEDIA: list[tuple[dict[str, Any], str]] = [
    ({"type": "image_url", "image_url": {"url": PNG}}, "image"),
    ({"type": "image_url", "image_url": "http://127.0.0.1:1/x.png"}, "image"),
    ({"type": "input_image", "image_url": PNG, "detail": "auto"}, "image"),
    (
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
        },
        "image",
    ),
    ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "audio"),
    ({"type": "audio_url", "audio_url": {"url": "http://127.0.0.1:1/x.wav"}}, "audio"),
    ({"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/x.mp4"}}, "video"),
    ({"type": "file", "file": {"file_id": "file-1"}}, "file"),
    ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, "file"),
    ({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}}, "file"),
    ({"type": "file", "file": {"file_data": "data:text/plain"}}, "file"),
    ({"type": "input_file", "file_url": "http://127.0.0.1:1/x.txt"}, "file"),
    ({"type": "document", "source": {"type": "url", "url": "http://127.0.0.1:1/x"}}, "file"),
    ({"type": "document"}, "file"),
    ({"type": "hologram", "data": "AAAA"}, "content"),
]
MEDIA_IDS = [f"{part['type']}-{at}" for at, (part, _) in enumerate(MEDIA)]
WHAT = {"type": "text", "text": "what is this?"}


@pytest.mark.parametrize(("part", "kind"), MEDIA, ids=MEDIA_IDS)
def test_what_a_model_cannot_take_is_refused_when_it_is_new(
    front: httpx.Client, part: dict[str, Any], kind: str
) -> None:
    for messages in (
        [{"role": "user", "content": [WHAT, part]}],
        [{"role": "user", "content": [WHAT, part]}, *called()[1:]],  # an agent is at work on it
    ):
        failure = CHAT.refusal(front.post(CHAT.path, json={"messages": messages}))
        assert (failure.status, failure.code) == (400, f"{kind}_not_supported")
        assert failure.param == "messages.0.content.1.type"
        assert failure.message.startswith("'messages.0.content.1.type': this model does not take")
        assert "AAAA" not in failure.message


@pytest.mark.parametrize(("part", "kind"), MEDIA, ids=MEDIA_IDS)
def test_what_a_model_cannot_take_is_left_out_where_it_is_old(
    answering: httpx.Client, strict: httpx.Client, part: dict[str, Any], kind: str
) -> None:
    old = [
        {"role": "user", "content": [WHAT, part]},
        {"role": "assistant", "content": "a dot"},
        HI,
        {"role": "system", "content": [part]},
        *answered(content=[part, WHAT])[1:],
    ]
    response = answering.post(CHAT.path, json={"messages": old, "max_tokens": 1})
    assert response.status_code == 200, response.text
    wanted = "messages.0.content.1, messages.3.content.0, messages.5.content.0"
    assert response.headers[HEADER] == wanted
    failure = CHAT.refusal(strict.post(CHAT.path, json={"messages": old}))
    assert (failure.code, failure.param) == (f"{kind}_not_supported", "messages.0.content.1.type")


def test_a_stranger_kind_of_call_in_history(front: httpx.Client) -> None:
    body = {"messages": called(type="custom", custom={"name": "f", "input": "x"})}
    failure = CHAT.refusal(front.post(CHAT.path, json=body))
    assert (failure.status, failure.param) == (400, "messages.1.tool_calls.0.type")


@pytest.mark.parametrize("depth", [65, 200, 900])
def test_values_that_are_too_deep(front: httpx.Client, depth: int) -> None:
    deep: Any = {}
    for _ in range(depth):
        deep = {"a": deep}
    for messages, param in (
        (called(deep), "messages.1.tool_calls.0.function.arguments"),
        (answered(content=deep), "messages.2.content"),
    ):
        failure = CHAT.refusal(front.post(CHAT.path, json={"messages": messages}))
        assert (failure.status, failure.param) == (400, param)
