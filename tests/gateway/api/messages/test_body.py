"""Fields of a request of Anthropic's dialect."""

import json
from typing import Any

import pytest

from gateway.api.body import parse
from gateway.api.field_policy import IgnoredFields
from gateway.api.messages.body import MessagesBody
from gateway.api.messages.errors import error_response
from gateway.core.errors import (
    BadRequest,
)
from tests.support.messages_requests import EPHEMERAL, HI, SCHEMA, WEATHER, body
from workers.protocol import Chat, JsonSchema


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
    assert newer == JsonSchema(SCHEMA, param="output_config", within=("format", "schema"))
    older = JsonSchema(SCHEMA, param="output_format", within=("schema",))
    assert body(output_format=form).form() == older
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
