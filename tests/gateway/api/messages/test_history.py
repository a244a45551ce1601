"""Conversations of Anthropic's dialect, as prompts.

Many cases are requests that fail elsewhere: in servers that refuse an unknown block or move system
messages.
"""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.body import parse
from gateway.api.field_policy import IgnoredFields
from gateway.api.messages.body import MessagesBody
from gateway.api.messages.signature import carried, signed
from gateway.core.errors import (
    BadRequest,
    FileNotSupported,
    ImageNotSupported,
)
from tests.support.messages_requests import (
    CALL,
    EPHEMERAL,
    HI,
    body,
    prompt,
    result,
    said,
    text,
)


def test_a_turn_of_claude_codes() -> None:
    """Its blocks, its markers and its mid-conversation instructions, in their places."""
    found = prompt(
        said("user", text("Weather?", cache_control=EPHEMERAL)),
        said(
            "assistant",
            {"type": "thinking", "thinking": "A tool.", "signature": "EqQB"},
            text("Let me see."),
            CALL,
        ),
        said("user", result([text("sunny")], cache_control=EPHEMERAL), text("Go on.")),
        {"role": "system", "content": "<total_tokens>9 tokens left</total_tokens>"},
        said("assistant", text("It is")),
        system=[
            text("x-anthropic-billing-header: cc_version=2.1.9.abc; cc_entrypoint=cli; cch=a5145;"),
            text("You are an agent.", cache_control=EPHEMERAL),
            text("Be brief."),
        ],
    )
    function = {"name": "get_weather", "arguments": {"city": "Paris"}}
    assert found == [
        {"role": "system", "content": "You are an agent.\nBe brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "A tool.",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "toolu_1"},
        {"role": "user", "content": "Go on."},
        {"role": "system", "content": "<total_tokens>9 tokens left</total_tokens>"},
        {"role": "assistant", "content": "It is"},
    ]


def test_conversations_differ_in_nothing_that_the_client_counts() -> None:
    """The billing block would end the prefix that they share, before its first word."""
    line = "x-anthropic-billing-header: cc_version=2.1.9; cch={};"
    blocks = [prompt(system=[text(line.format(n)), text("Be brief.")]) for n in ("a", "b")]
    strings = [prompt(system=line.format(n) + "\n\nBe brief.") for n in ("a", "b")]
    assert blocks[0] == blocks[1] == strings[0] == strings[1]
    assert prompt(system="") == prompt(system=[text(line)]) == prompt()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ""),
        ("", ""),
        ([], ""),
        ("sunny", "sunny"),
        ([text("sunny"), text("31°")], "sunny\n31°"),
        (["sunny"], "sunny"),
        (
            [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": ""},
                }
            ],
            "[image omitted: this model does not take images]",
        ),
        (
            [{"type": "document", "source": {"type": "text", "data": "a page"}, "title": "One"}],
            "One\na page",
        ),
        (
            [{"type": "search_result", "title": "T", "source": "s", "content": [text("found")]}],
            "T\ns\nfound",
        ),
        ([{"type": "tool_reference", "tool_name": "later"}], ""),
    ],
)
def test_results(content: Any, words: str) -> None:
    *_, found = prompt(HI, said("assistant", CALL), said("user", result(content)))
    assert found == {"role": "tool", "content": words, "tool_call_id": "toolu_1"}


def test_a_result_that_is_an_error_says_so() -> None:
    for content, words in (
        ("no such city", "Error: no such city"),
        (None, "Error:"),
        ([], "Error:"),
    ):
        *_, found = prompt(
            HI, said("assistant", CALL), said("user", result(content, is_error=True))
        )
        assert found["content"] == words


def test_results_come_before_the_words_beside_them() -> None:
    found = prompt(HI, said("assistant", CALL), said("user", text("well?"), result("sunny")))
    assert [message["role"] for message in found[2:]] == ["tool", "user"]


def test_media_of_the_newest_message_are_refused_and_others_named() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}}
    with pytest.raises(ImageNotSupported) as caught:
        body(said("user", text("look"), picture))
    assert caught.value.param == "messages.0.content.1.type"
    with pytest.raises(FileNotSupported):
        body(said("user", pdf))
    ignored = IgnoredFields()
    raw = {"messages": [said("user", picture), HI]}
    assert "image omitted" in parse(MessagesBody, raw, ignored).chat().messages[0]["content"]
    assert ignored.header(raw) == "messages.0.content.0"


def test_documents_whose_source_is_text() -> None:
    data = base64.b64encode(b"in base64").decode()
    sources = [
        {"type": "text", "media_type": "text/plain", "data": "as it is"},
        {"type": "content", "content": [text("in blocks")]},
        {"type": "base64", "media_type": "text/plain", "data": data},
    ]
    blocks = [{"type": "document", "source": source} for source in sources]
    assert prompt(said("user", *blocks))[0]["content"] == "as it is\nin blocks\nin base64"


def test_unknown_blocks_and_server_tools_of_earlier_turns_are_left_out_and_named() -> None:
    ignored = IgnoredFields()
    turn = said(
        "assistant",
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "of next year", "text": "its text"},
        {"type": "redacted_thinking", "data": "AAAA"},
        text("Found."),
    )
    raw = {"messages": [HI, turn, HI]}
    assert parse(MessagesBody, raw, ignored).chat().messages[1] == {
        "role": "assistant",
        "content": "its text\nFound.",
    }
    assert ignored.header(raw) == "messages.1.content.0, messages.1.content.1"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (said("assistant", {**CALL, "name": None}), "messages.1.content.0.name"),
        (said("assistant", {**CALL, "name": "a\nb"}), "messages.1.content.0.name"),
        (said("assistant", {"type": "tool_use", "name": "f"}), "messages.1.content.0.id"),
        (said("user", {"type": "tool_result"}), "messages.1.content.0.tool_use_id"),
        (said("user", result({"a": 1})), "messages.1.content.0.content"),
        (said("user", result([5])), "messages.1.content.0.content.0"),
        (said("user", {"type": "text", "text": 5}), "messages.1.content.0.text"),
        (said("user", {"text": "no type"}), "messages.1.content.0.type"),
        ({"role": "tool", "content": "x"}, "messages.1.role"),
        ({"role": "user"}, "messages.1.content"),
    ],
)
def test_what_a_block_must_have_is_named(message: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        body(HI, message)
    assert (caught.value.param or "").startswith(param)


def test_arguments_have_a_depth() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(BadRequest) as caught:
        body(HI, said("assistant", {**CALL, "input": deep}))
    assert caught.value.param == "messages.1.content.0.input"


def test_a_hidden_thought_comes_back_in_its_signature() -> None:
    block = {"type": "thinking", "thinking": "", "signature": signed("let me see", hidden=True)}
    assert prompt(HI, said("assistant", block), HI)[1]["reasoning_content"] == "let me see"


@given(st.text())
def test_signatures(thought: str) -> None:
    told = thought.encode("utf-8", "replace").decode()
    assert carried(signed(thought, hidden=True)) == told
    assert carried(signed(thought, hidden=False)) == ""


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()) | st.integers())
def test_any_signature_is_taken(signature: Any) -> None:
    assert isinstance(carried(signature), str)
