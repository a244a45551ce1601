"""Anthropic's dialect: from body to prompt, and from events to answers.

Many cases are requests that fail elsewhere: in servers that refuse an unknown block, move system
messages, or write events in an order that clients do not expect.
"""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.body import parse
from gateway.api.field_policy import IgnoredFields
from gateway.api.messages.answer import PING, MessageWriter
from gateway.api.messages.blocks import BlockWriter
from gateway.api.messages.body import MessagesBody
from gateway.api.messages.errors import error_response, speaks
from gateway.api.messages.signature import carried, signed
from gateway.core.errors import (
    BadRequest,
    ContextOverflow,
    FileNotSupported,
    ForgeError,
    ImageNotSupported,
    InvalidKey,
    QueueFull,
    Unavailable,
    UnknownModel,
    WorkerFailed,
)
from gateway.dispatch.ticket import Ticket
from tests.support.memory_pool import job, only
from workers.protocol import CallDelta, Chat, Delta, Extra, Finished, JsonSchema, Started

HI = {"role": "user", "content": "hi"}
EPHEMERAL = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "The weather.", "input_schema": SCHEMA}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}


def body(*messages: Any, **fields: Any) -> MessagesBody:
    raw = {"messages": [*messages] or [HI], "max_tokens": 64, **fields}
    return parse(MessagesBody, raw, IgnoredFields())


def prompt(*messages: Any, **fields: Any) -> list[dict[str, Any]]:
    return body(*messages, **fields).chat().messages


def result(content: Any = None, **fields: Any) -> dict[str, Any]:
    given = {} if content is None else {"content": content}
    return {"type": "tool_result", "tool_use_id": "toolu_1", **given, **fields}


def said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": [*blocks]}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


# ------------------------------------------------------------------ conversations


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


# ------------------------------------------------------------------ fields


def use(**fields: Any) -> Any:
    return body(**fields).chat().tools


def test_tools_of_the_client_are_offered_and_those_of_servers_are_not() -> None:
    tools = [
        {**WEATHER, "cache_control": EPHEMERAL, "eager_input_streaming": True, "strict": True},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "browser_toolset_20260801"},
        {"type": "custom", "name": "now", "defer_loading": True},
        {"type": "bash_20250124", "name": "bash", "input_schema": SCHEMA},
    ]
    found = use(tools=tools)
    assert found.callable == ["get_weather", "now", "bash"]
    assert found.tools[0] == {
        "type": "function",
        "function": {"name": "get_weather", "description": "The weather.", "parameters": SCHEMA},
    }
    assert (found.required, found.parallel) == (False, True)
    assert use(tools=tools[1:3]) is None


@pytest.mark.parametrize(
    ("choice", "required", "names", "parallel"),
    [
        ({"type": "auto"}, False, ["get_weather", "now"], True),
        ({"type": "auto", "disable_parallel_tool_use": True}, False, ["get_weather", "now"], False),
        ({"type": "any"}, True, ["get_weather", "now"], True),
        ({"type": "any", "disable_parallel_tool_use": True}, True, ["get_weather", "now"], False),
        ({"type": "tool", "name": "now"}, True, ["now"], False),
    ],
)
def test_tool_choice(choice: Any, required: bool, names: list[str], parallel: bool) -> None:
    found = use(tools=[WEATHER, {"name": "now"}], tool_choice=choice)
    assert (found.required, found.callable, found.parallel) == (required, names, parallel)


def test_no_tools() -> None:
    assert use(tools=[WEATHER], tool_choice={"type": "none"}) is None
    for choice in ({"type": "any"}, {"type": "tool", "name": "gone"}, {"type": "tool"}):
        with pytest.raises(BadRequest, match="tool_choice"):
            use(tool_choice=choice)
    with pytest.raises(BadRequest) as caught:
        use(tools=[{"description": "x", "input_schema": {}}])
    assert caught.value.param == "tools.0.name"
    with pytest.raises(BadRequest) as caught:
        use(tools=[{"name": "f", "input_schema": {"type": "array"}}])
    assert caught.value.param == "tools.0.input_schema"


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({}, {"enable_thinking": False}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, {"enable_thinking": True}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"enable_thinking": True}),
        ({"thinking": {"type": "between_tools"}}, {"enable_thinking": True}),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            {"enable_thinking": True, "reasoning_effort": "high"},
        ),
        (
            {"output_config": {"effort": "low"}},
            {"enable_thinking": False, "reasoning_effort": "low"},
        ),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
    ],
)
def test_thinking_and_effort(fields: Any, arguments: dict[str, Any]) -> None:
    assert body(**fields).chat().arguments == arguments


def test_the_form_of_the_answer() -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    newer = body(output_config={"format": form}).form()
    assert newer == JsonSchema(SCHEMA, param="output_config")
    assert body(output_format=form).form() == JsonSchema(SCHEMA, param="output_format")
    assert body(output_format=form, output_config={"format": form}).form() == newer
    assert body(output_config={"effort": "low"}).form() is None
    with pytest.raises(BadRequest):
        body(output_config={"format": form}, grammar='root ::= "x"').form()


def test_fields_of_next_year_are_ignored_and_named() -> None:
    ignored = IgnoredFields()
    raw: dict[str, Any] = {
        "messages": [{**HI, "new": 1}],
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "speed": "fast",
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "mcp_servers": [],
        "field_of_next_year": {"a": 1},
        "output_config": {"effort": "high", "task_budget": {"type": "tokens", "total": 5}},
    }
    assert parse(MessagesBody, raw, ignored).chat() == Chat(
        [HI], None, {"enable_thinking": False, "reasoning_effort": "high"}
    )
    assert ignored.header(raw) == "context_management, field_of_next_year"


def test_a_thread_is_refused_so_that_clients_go_on_without() -> None:
    """Its next request would bring the newest messages alone."""
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        with pytest.raises(BadRequest) as caught:
            body(thread=thread)
        answer = json.loads(bytes(error_response(caught.value, "abc").body))
        details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        assert answer["error"]["details"] == details
    assert body(thread=None).chat().messages == [HI]


def test_stop_sequences() -> None:
    assert body(stop_sequences=["a", "b", "a"]).stops() == ("a", "b")
    with pytest.raises(BadRequest):
        body(stop_sequences=[""])


# ------------------------------------------------------------------ answers


def writer(**fields: Any) -> MessageWriter:
    made = Ticket(1, job(), 0)
    only(made).started = Started(1, 1, 7, 3)
    only(made).ids = [5, 6]
    return MessageWriter(made, "tiny", body(**fields))


def finished(reason: str, text: str = "", extra: Extra | None = None, stop: Any = None) -> Finished:
    return Finished(1, 1, reason, [], text, extra, None, stop)


def calls(index: int, *pieces: str) -> list[Extra]:
    first, *rest = pieces
    name = "get_weather"
    return [
        Extra(calls=[CallDelta(index, name, first)]),
        *(Extra(calls=[CallDelta(index, None, piece)]) for piece in rest),
    ]


PIECES: list[Delta | Started | Finished] = [
    Started(1, 1, 7, 3),
    Delta(1, 1, [1], "", Extra(reasoning="a ")),
    Delta(1, 1, [1], "", Extra(reasoning="tool")),
    Delta(1, 1, [1], "\n\n"),
    Delta(1, 1, [1], "Let me "),
    Delta(1, 1, [1], "see."),
    *(Delta(1, 1, [1], "", extra) for extra in calls(0, '{"city": "Pa', 'ris"}')),
    Delta(1, 1, [1], "\n"),
    *(Delta(1, 1, [1], "", extra) for extra in calls(1, "{}")),
    finished("tool_calls"),
]


def test_blocks_follow_one_another_and_keep_their_places() -> None:
    made = writer()
    events = [event for piece in PIECES for event in made.take(piece)]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    open_, begun = None, 0
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert (open_, event["index"]) == (None, begun)
                open_, begun = begun, begun + 1
            case "content_block_stop":
                assert event["index"] == open_
                open_ = None
            case _:
                assert event["index"] == open_
    assert open_ is None
    starts = [event["content_block"] for event in events if "content_block" in event]
    assert [each["type"] for each in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert starts[0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert starts[1] == {"type": "text", "text": ""}
    assert starts[2]["input"] == {}
    assert len({each["id"] for each in starts[2:]}) == 2


def test_a_whole_answer_is_what_a_stream_adds_up_to() -> None:
    made = writer()
    events = [event for piece in PIECES for event in made.take(piece)]
    assert made.whole()["content"] == assembled(events)
    thought, words, call, other = made.whole()["content"]
    assert thought["type"] == "thinking"
    assert (thought["thinking"], bool(thought["signature"])) == ("a tool", True)
    assert words == {"type": "text", "text": "\n\nLet me see."}
    assert call["type"] == other["type"] == "tool_use"
    assert (call["input"], other["input"]) == ({"city": "Paris"}, {})
    message = made.whole()
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)
    assert message["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 2,
    }


def assembled(events: Any) -> list[dict[str, Any]]:
    """Blocks as clients put them together from a stream."""
    blocks: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_start":
            assert event["index"] == len(blocks)
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            if delta["type"] == "input_json_delta":
                at = event["index"]
                arguments[at] = arguments.get(at, "") + delta["partial_json"]
                try:
                    block["input"] = json.loads(arguments[at])
                except json.JSONDecodeError:
                    continue
            else:
                (name,) = delta.keys() - {"type"}
                block[name] += delta[name]
    return blocks


DELTAS = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.text(max_size=5)),
        st.tuples(st.just("thought"), st.text(max_size=5)),
        st.tuples(st.just("call"), st.just("{}")),
    )
)


@given(DELTAS, st.booleans())
def test_any_order_of_pieces_makes_sound_blocks(pieces: list[tuple[str, str]], hide: bool) -> None:
    blocks, events, made = BlockWriter("r", hides_thoughts=hide), list[Any](), 0
    for kind, piece in pieces:
        extra = None
        if kind == "thought":
            extra = Extra(reasoning=piece)
        elif kind == "call":
            extra, made = Extra(calls=[CallDelta(made, "f", piece)]), made + 1
        events += blocks.take(piece if kind == "text" else "", extra)
    events += blocks.end()
    assert assembled(events) == blocks.blocks
    starts = [event["index"] for event in events if event["type"] == "content_block_start"]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert starts == stops == list(range(len(blocks.blocks)))
    assert blocks.blocks, "clients read the first block"
    spoken = "".join(piece for kind, piece in pieces if kind == "text")
    told = "".join(block["text"] for block in blocks.blocks if block["type"] == "text")
    assert "".join(told.split()) == "".join(spoken.split())


def test_a_hidden_thought_has_a_signature_alone() -> None:
    made = writer(thinking={"type": "adaptive", "display": "omitted"})
    events = [
        *made.take(Delta(1, 1, [1], "", Extra(reasoning="a secret"))),
        *made.take(finished("stop", "Yes.")),
    ]
    assert "a secret" not in json.dumps(events)
    thought = made.whole()["content"][0]
    assert thought["type"] == "thinking"
    assert thought["thinking"] == ""
    assert carried(thought["signature"]) == "a secret"
    assert assembled(events) == made.whole()["content"]


@pytest.mark.parametrize(
    ("event", "fields", "reason", "sequence"),
    [
        (finished("stop"), {}, "end_turn", None),
        (finished("stop", stop="END"), {"stop_sequences": ["END"]}, "stop_sequence", "END"),
        (finished("stop", stop="<|im_end|>"), {"stop_sequences": ["END"]}, "end_turn", None),
        (finished("tool_calls"), {}, "tool_use", None),
        (finished("length"), {"max_tokens": 2}, "max_tokens", None),
        (finished("length"), {"max_tokens": 64000}, "model_context_window_exceeded", None),
    ],
)
def test_reasons(event: Finished, fields: Any, reason: str, sequence: str | None) -> None:
    made = writer(**fields)
    *_, delta, _ = made.take(event)
    assert delta["delta"] == {"stop_reason": reason, "stop_sequence": sequence}
    assert (made.whole()["stop_reason"], made.whole()["stop_sequence"]) == (reason, sequence)


def test_a_wait_begins_the_message_and_pings() -> None:
    made = writer()
    first, second = made.waiting().decode(), made.waiting().decode()
    assert first.startswith("event: message_start\ndata: {")
    assert first.endswith('event: ping\ndata: {"type":"ping"}\n\n')
    assert second == 'event: ping\ndata: {"type":"ping"}\n\n'
    assert made.event(Started(1, 1, 7, 3)) == b"", "it has begun"


def test_a_hidden_thought_pings() -> None:
    made = writer(thinking={"type": "adaptive", "display": "omitted"})
    thought = Delta(1, 1, [1], "", Extra(reasoning="hm "))
    data = [made.event(thought) for _ in range(65)]
    assert data[0].startswith(b"event: message_start\n")
    assert data[1:].count(PING) == 4
    assert b"hm" not in b"".join(data)


def test_an_answer_of_nothing_has_one_empty_text() -> None:
    made = writer()
    made.take(finished("stop"))
    assert made.whole()["content"] == [{"type": "text", "text": ""}]


def test_a_call_that_was_cut_off_has_no_arguments_yet() -> None:
    made = writer()
    (piece,) = calls(0, '{"city": "Pa')
    made.take(Delta(1, 1, [1], "", piece))
    made.take(finished("length"))
    (call,) = made.whole()["content"]
    assert call["type"] == "tool_use"
    assert call["input"] == {}


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("error", "status", "kind", "again"),
    [
        (BadRequest("no", param="tools.0.name"), 400, "invalid_request_error", "false"),
        (InvalidKey("no"), 401, "authentication_error", "false"),
        (UnknownModel("no", param="model"), 404, "not_found_error", "false"),
        (QueueFull("no", retry_after=3), 429, "rate_limit_error", "true"),
        (WorkerFailed("no"), 500, "api_error", "false"),
        (Unavailable("no", retry_after=5), 503, "overloaded_error", "true"),
    ],
)
def test_errors(error: ForgeError, status: int, kind: str, again: str) -> None:
    response = error_response(error, "abc")
    body = json.loads(bytes(response.body))
    detail = {"type": kind, "message": "no", "code": error.code}
    detail |= {} if error.param is None else {"param": error.param}
    assert body == {"type": "error", "error": detail, "request_id": "req_abc"}
    assert response.status_code == status
    assert response.headers["request-id"] == "req_abc"
    assert response.headers["x-should-retry"] == again
    after = None if error.retry_after is None else str(error.retry_after)
    assert response.headers.get("retry-after") == after


def test_a_prompt_that_is_too_long_is_told_in_anthropics_words() -> None:
    error = ContextOverflow("long", n_prompt_tokens=210000, n_ctx=200000, param=None)
    body = json.loads(bytes(error_response(error, "abc").body))
    assert body["error"]["message"] == "prompt is too long: 210000 tokens > 200000 maximum"


def test_the_paths_of_the_dialect() -> None:
    assert [path for path in ("/v1/messages", "/v1/messages/batches") if not speaks(path)] == []
    assert not any(map(speaks, ("/v1/messagesx", "/v1", "/v1/models")))
