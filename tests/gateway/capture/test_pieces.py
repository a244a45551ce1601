"""The texts of answers, whole or in pieces, whatever their dialect."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.capture.pieces import NamedText, joined, leaves, lines, numbers, texts

JSON, EVENTS, LINES = "application/json", "text/event-stream", "application/x-ndjson"
CALL = {"index": 0, "function": {"name": "f", "arguments": '{"a"'}}


def events(*values: Any) -> bytes:
    return b"".join(b"event: x\ndata: " + json.dumps(each).encode() + b"\n\n" for each in values)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({"choices": [{"message": {"content": "a", "role": "x"}}]}, [("content", "a")]),
        (
            {"choices": [{"index": at, "text": text} for at, text in enumerate("ab")]},
            [("text", "a"), ("text", "b")],
        ),
        (
            {"content": [{"type": "text", "text": "a"}, {"name": "f", "input": {"b": 1, "a": 2}}]},
            [("text", "a"), ("name", "f"), ("input", '{"a":2,"b":1}')],
        ),
        (
            {"output": [{"content": [{"text": "a"}]}], "text": {"format": {"text": "b"}}},
            [("text", "a")],
        ),
        ({"message": {"content": "a", "thinking": "b"}}, [("content", "a"), ("thinking", "b")]),
        ({"response": "a", "usage": {"text": "b"}}, [("response", "a")]),
        ({"content": "a", "prompt": "b", "generation_settings": {"text": "c"}}, [("content", "a")]),
        ({"choices": [{"text": "a", "logprobs": {"content": [{"text": "b"}]}}]}, [("text", "a")]),
        ({"error": {"message": "no", "text": "b"}}, []),
        ({"results": [{"index": 0, "document": {"text": "a"}, "relevance_score": 1}]}, []),
        ([], []),
        ("text", []),
    ],
)
def test_texts_of_whole_answers(answer: Any, found: list[tuple[str, str]]) -> None:
    assert texts(json.dumps(answer).encode(), JSON) == [NamedText(*each) for each in found]


@pytest.mark.parametrize(
    ("chunks", "found"),
    [
        (
            [
                {"choices": [{"index": 0, "delta": {"content": "a"}}]},
                {"choices": [{"index": 1, "delta": {"content": "x"}}]},
                {"choices": [{"index": 0, "delta": {"content": "b"}}]},
                {"choices": [], "usage": {"text": "no"}},
            ],
            [("content", "ab"), ("content", "x")],
        ),
        (
            [
                {"choices": [{"index": 0, "delta": {"tool_calls": [CALL]}}]},
                {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"tool_calls": [{**CALL, "function": {"arguments": ":1}"}}]},
                        }
                    ]
                },
            ],
            [("name", "f"), ("arguments", '{"a":1}')],
        ),
        (
            [
                {"type": "content_block_delta", "index": 0, "delta": {"thinking": "h"}},
                {"type": "content_block_delta", "index": 0, "delta": {"thinking": "m"}},
                {"type": "content_block_delta", "index": 1, "delta": {"text": "a"}},
                {"type": "message_stop"},
            ],
            [("thinking", "hm"), ("text", "a")],
        ),
        (
            [
                {"type": "response.output_text.delta", "output_index": 0, "delta": "no"},
                {
                    "type": "response.completed",
                    "response": {"output": [{"content": [{"text": "a"}]}]},
                },
            ],
            [("text", "a")],
        ),
    ],
)
def test_texts_of_streams(chunks: list[Any], found: list[tuple[str, str]]) -> None:
    body = b": queue-wait 1\n\n" + events(*chunks) + b"data: [DONE]\n\n"
    assert texts(body, EVENTS + "; charset=utf-8") == [NamedText(*each) for each in found]


def test_texts_of_lines() -> None:
    body = b'{"response":"a"}\n{"response":"b"}\n{"response":"","done":true,"context":[1]}\n'
    assert texts(body, LINES) == [NamedText("response", "ab")]


def test_numbers() -> None:
    vectors = {"data": [{"index": 0, "embedding": [0.5, 1]}, {"index": 1, "embedding": [2.0, 3]}]}
    assert numbers(json.dumps(vectors).encode(), JSON) == [0.5, 1, 2.0, 3]
    scores = {"results": [{"index": 1, "relevance_score": 0.25}], "usage": {"score": 1}}
    assert numbers(json.dumps(scores).encode(), JSON) == [0.25]


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_what_is_not_json_is_kept_as_it_is(body: bytes) -> None:
    for kind in (EVENTS, LINES, JSON, "image/png", ""):
        found = lines(body, kind)
        if not any(each.json for each in found):
            assert joined(found) == body
        texts(body, kind)


def test_deep_and_wide_answers_are_walked() -> None:
    deep = b'{"a":' * 900 + b'"x"' + b"}" * 900
    assert [leaf.value for leaf in leaves(lines(deep, JSON))] == ["x"]
    wide = lines(json.dumps([[str(at)] for at in range(50_000)]).encode(), JSON)
    found = [*leaves(wide)]
    assert [leaf.value for leaf in found] == [str(at) for at in range(50_000)]
    assert len({leaf.place for leaf in found}) == 1
