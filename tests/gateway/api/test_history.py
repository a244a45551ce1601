"""Conversations as templates get them: texts, thoughts, calls, results."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.api.field_policy import IgnoredFields
from gateway.api.openai.history import plain
from gateway.api.openai.messages import Message
from gateway.core.errors import ContentNotSupported

MESSAGES = TypeAdapter(list[Message])
HI = {"role": "user", "content": "hi"}


def read(*messages: Any) -> list[dict[str, Any]]:
    return plain(MESSAGES.validate_python([*messages]), IgnoredFields())


def text(*parts: Any, role: str = "user") -> str:
    """The text that some parts become, which are an earlier message's."""
    found, *_ = read({"role": role, "content": [*parts]}, HI)
    assert found.keys() - {"tool_call_id"} == {"role", "content"}
    content: str = found["content"]
    return content


def turn(**fields: Any) -> dict[str, Any]:
    _, found = read(HI, {"role": "assistant", **fields})
    return found


# ------------------------------------------------------------------ texts


def test_texts_of_one_message_are_lines() -> None:
    texts = ["What is", "", "the best book", None]
    parts = [{"type": "text", "text": each} for each in texts]
    for role in ("system", "developer", "user", "assistant", "tool"):
        assert text(*parts, role=role) == "What is\nthe best book"


DEEP: Any = []
for _ in range(2000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "part",
    [
        "a\nb",
        {"text": "a\nb"},
        {"type": "text", "text": "a\nb"},
        {"type": "input_text", "text": "a\nb"},
        {"type": "output_text", "text": "a\nb", "annotations": [], "logprobs": []},
        {"type": "text-plain", "text": "a\nb"},
        {"type": "refusal", "refusal": "a\nb"},
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "a\nb"},
        },
        {
            "type": "document",
            "source": {
                "type": "content",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
        },
        {"type": "document", "source": {"type": "content", "content": "a\nb"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "text/markdown", "data": "YQpi"},
        },
        {"type": "file", "file": {"file_data": "data:text/plain;base64,YQpi"}},
        {"type": "file", "file": {"file_data": "data:text/csv;charset=utf-8;base64,YQpi"}},
        {"type": "file", "file": {"file_data": "DATA:Application/JSON;BASE64,YQpi"}},
        {"type": "file", "file": {"file_data": "data:text/plain,a%0Ab"}},
        {"type": "input_file", "file_data": "data:text/plain;base64,YQpi"},
    ],
    ids=str,
)
def test_spellings_of_a_text(part: Any) -> None:
    assert text(part) == "a\nb"
    (new,) = read({"role": "user", "content": [part]})
    assert new == {"role": "user", "content": "a\nb"}


def test_a_document_has_its_title_above_it() -> None:
    source = {"type": "text", "data": "Once."}
    assert text({"type": "document", "source": source, "title": "Tale"}) == "Tale\nOnce."
    file = {"filename": "tale.txt", "file_data": "data:text/plain;base64,T25jZS4="}
    assert text({"type": "file", "file": file}) == "tale.txt\nOnce."


@pytest.mark.parametrize(
    ("part", "placeholder"),
    [
        (
            {"type": "image_url", "image_url": {"url": "x"}},
            "image omitted: this model does not take",
        ),
        ({"type": "input_audio"}, "audio omitted: this model does not take audio"),
        ({"type": "document", "source": 5}, "file omitted: this model does not take files"),
        ({"type": "document", "source": {"type": "text"}}, "file omitted"),
        (
            {"type": "document", "source": {"type": "base64", "data": "x", "media_type": DEEP}},
            "file omitted",
        ),
        ({"type": "file", "file": "x"}, "file omitted"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,é"}}, "file omitted"),
        ({"type": "tool_use", "id": "c"}, "part omitted: this model does not take content of this"),
    ],
)
def test_placeholders(part: Any, placeholder: str) -> None:
    assert text("look", part).startswith(f"look\n[{placeholder}")
    with pytest.raises(ContentNotSupported):
        read(HI, {"role": "user", "content": [part]})


def test_a_result_that_is_an_object_is_json() -> None:
    _, found = read(HI, {"role": "tool", "content": {"ü": [1, None]}})
    assert found["content"] == '{"ü":[1,null]}'


# ------------------------------------------------------------------ thoughts


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "hm", "reasoning": "other"},
        {"reasoning": "hm", "thinking": "other"},
        {"reasoning": {"content": "hm"}},
        {"thinking": "hm"},
        {
            "thinking_blocks": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "redacted_thinking"},
            ]
        },
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm"}]},
        {"reasoning": None, "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"content": [{"type": "thinking", "thinking": "hm"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "reasoning", "text": "hm"}]},
        {"content": [{"type": "reasoning", "reasoning": "hm"}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]},
    ],
    ids=str,
)
def test_spellings_of_a_thought(fields: dict[str, Any]) -> None:
    assert turn(**fields) == {"role": "assistant", "content": "", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reasoning": ""},
        {"reasoning": 5},
        {"reasoning_details": []},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "AAAA"}]},
        {"thinking_blocks": ["x", None, {}]},
        {"content": [{"type": "redacted_thinking", "data": "AAAA"}]},
    ],
    ids=str,
)
def test_no_thought(fields: dict[str, Any]) -> None:
    assert turn(**fields) == {"role": "assistant", "content": ""}


# ------------------------------------------------------------------ calls


def call(arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "function": {"name": "f", "arguments": arguments}, **fields}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("{}", {}),
        ("", {}),
        (" \n", {}),
        ("null", {}),
        (None, {}),
        ('{"path": "a.t', '{"path": "a.t'),
        ("[]", "[]"),
        ('"x"', '"x"'),
        ("x", "x"),
        ([1, "ü"], '[1,"ü"]'),
        (5, "5"),
        (False, "false"),
        ('{"a": "\\ud800"}', '{"a": "\\ud800"}'),
        ("{" * 100_000, "{" * 100_000),
        ('{"a":' * 100 + "1" + "}" * 100, '{"a":' * 100 + "1" + "}" * 100),
    ],
    ids=lambda value: str(value)[:20],
)
def test_arguments(given: Any, wanted: Any) -> None:
    (made,) = turn(tool_calls=[call(given)])["tool_calls"]
    wanted_call = {"name": "f", "arguments": wanted}
    assert made == {"id": "c1", "type": "function", "function": wanted_call}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON.filter(lambda value: not isinstance(value, str)))
def test_arguments_say_the_same_as_text_and_as_a_value(value: Any) -> None:
    for given_as in (value, json.dumps(value)):
        (made,) = turn(tool_calls=[call(given_as)])["tool_calls"]
        found = made["function"]["arguments"]
        assert (json.loads(found) if isinstance(found, str) else found) == (
            {} if value is None else value
        )


def test_calls_and_results_without_ids_belong_together() -> None:
    calls = [{"function": {"name": name}} for name in ("f", "g", "f")]
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2", "name": "f"}]
    rest = {"role": "tool", "content": "3", "tool_call_id": ""}
    again = [{"role": "assistant", "tool_calls": calls[:1]}, {"role": "tool", "content": "5"}]
    orphan = {"role": "tool", "content": "4"}
    _, caller, *found = read(
        HI, {"role": "assistant", "tool_calls": calls}, *results, rest, orphan, *again
    )
    ids = [made["id"] for made in caller["tool_calls"]]
    assert len(set(ids)) == 3
    told = [result["tool_call_id"] for result in found if result["role"] == "tool"]
    assert told[:3] == [ids[0], ids[2], ids[1]]
    assert told[3] not in ids
    assert told[4] == found[4]["tool_calls"][0]["id"] not in ids


def test_the_beginning_does_not_change_with_what_follows() -> None:
    """Its tokens are computed already."""
    messages = [HI, {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]
    messages += [{"role": "tool"}, {"role": "assistant", "content": "ho"}, HI]
    whole = read(*messages)
    for at in range(1, len(messages)):
        assert read(*messages[:at]) == whole[:at]


def test_the_older_api() -> None:
    old = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "4"},
    ]
    _, caller, result = read(HI, *old)
    (made,) = caller["tool_calls"]
    assert made["function"] == {"name": "f", "arguments": {}}
    wanted = {"role": "tool", "content": "4", "name": "f", "tool_call_id": made["id"]}
    assert result == wanted
    nothings: list[Any] = [None, {}, {"name": ""}, {"name": 5}, []]
    for nothing in nothings:
        assert "tool_calls" not in turn(function_call=nothing)


def test_parts_that_repeat_calls_are_left_out() -> None:
    parts = [{"type": "text", "text": "Let's see."}, {"type": "tool_use", "id": "c1"}]
    assert turn(content=parts, tool_calls=[call("{}")])["content"] == "Let's see."


def test_names_go_on() -> None:
    for role in ("system", "user", "assistant", "tool"):
        found, _ = read({"role": role, "content": "a", "name": "ann"}, HI)
        assert found["name"] == "ann"
