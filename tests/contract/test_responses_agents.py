"""Requests of the shape that coding agents send, and each known way to fail them."""

import json
from typing import Any

import httpx
import pytest

from tests.support.dialects import RESPONSES, data_of
from tests.support.patch_grammar import PATCH_GRAMMAR


def function(name: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": f"The tool {name}.",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": [*properties],
            "additionalProperties": False,
        },
    }


TOOLS: list[dict[str, Any]] = [
    function("shell", command={"type": "array", "items": {"type": "string"}}),
    function("update_plan", plan={"type": "array", "items": {"type": "object", "properties": {}}}),
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": PATCH_GRAMMAR},
    },
    {"type": "web_search", "external_web_access": False},
    {"type": "image_generation", "output_format": "png"},
    {"type": "tool_search", "execution": "client", "description": "", "parameters": {}},
    {
        "type": "namespace",
        "name": "mcp__files__",
        "description": "Files.",
        "tools": [
            function("read", path={"type": "string"}),
            function("write", path={"type": "string"}),
        ],
    },
]
HISTORY: list[dict[str, Any]] = [
    {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "<permissions>sandbox</permissions>"}],
    },
    {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "<environment>linux</environment>"}],
    },
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list files"}]},
    {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAAAABo"},
    {
        "type": "function_call",
        "name": "shell",
        "arguments": '{"command":["ls"]}',
        "call_id": "call_1",
    },
    {"type": "function_call_output", "call_id": "call_1", "output": "a.py\n"},
    {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "a reminder in the middle"}],
    },
    {
        "type": "function_call",
        "name": "read",
        "namespace": "mcp__files__",
        "arguments": "{}",
        "call_id": "call_2",
    },
    {
        "type": "function_call_output",
        "call_id": "call_2",
        "output": [{"type": "input_text", "text": "x"}],
    },
    {
        "type": "custom_tool_call",
        "name": "apply_patch",
        "input": "*** Begin Patch",
        "call_id": "call_3",
    },
    {"type": "custom_tool_call_output", "call_id": "call_3", "output": "failed"},
]


def codex(**more: Any) -> dict[str, Any]:
    """A request of a coding agent that keeps the conversation itself."""
    return {
        "model": "forge-tiny",
        "instructions": "You are a coding agent.",
        "input": HISTORY,
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": None,
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-thread",
        "text": {"verbosity": "medium"},
        "client_metadata": {"x": "y"},
        "access_programs": {"cyber": "standard"},
        **more,
    }


def sent(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    headers = {"originator": "codex_cli_rs", "session_id": "0199", "User-Agent": "codex_cli_rs/1"}
    with client.stream("POST", RESPONSES.path, json=body, headers=headers) as response:
        assert response.status_code == 200, response.read()
        return [json.loads(data) for data in data_of(response.iter_lines())]


def test_a_whole_request_is_streamed(http: httpx.Client) -> None:
    events = sent(http, codex(max_output_tokens=8))
    assert events[0]["type"] == "response.created"
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]
    for event in events:
        # An agent that meets one of these without the item before it gives up.
        if event["type"].endswith(".delta"):
            added = [e for e in events if e["type"] == "response.output_item.added"]
            assert event["item_id"] in [e["item"]["id"] for e in added]
    usage = events[-1]["response"]["usage"]
    assert {"input_tokens", "output_tokens", "total_tokens"} <= usage.keys()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_tool_of_a_namespace_comes_back_by_its_bare_name(http: httpx.Client, seed: int) -> None:
    choice = {"type": "function", "name": "write", "namespace": "mcp__files__"}
    events = sent(http, codex(tool_choice=choice, seed=seed, max_output_tokens=200))
    (item,) = (e["item"] for e in events if e["type"] == "response.output_item.done")
    assert (item["type"], item["name"], item["namespace"]) == (
        "function_call",
        "write",
        "mcp__files__",
    )


def test_a_patch_follows_its_grammar(http: httpx.Client) -> None:
    choice = {"type": "custom", "name": "apply_patch"}
    events = sent(http, codex(tool_choice=choice, max_output_tokens=400))
    (item,) = (e["item"] for e in events if e["type"] == "response.output_item.done")
    assert item["type"] == "custom_tool_call"
    assert item["input"].startswith("*** Begin Patch\n*** ")
    if events[-1]["response"]["status"] == "completed":
        assert item["input"].rstrip("\n").endswith("\n*** End Patch")


def test_a_form_of_the_answer_is_enforced_beside_tools(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"done": {"type": "boolean"}},
        "required": ["done"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "name": "codex_output_schema", "strict": True, "schema": schema}
    events = sent(http, codex(text={"format": form}, tools=[], max_output_tokens=40))
    (item,) = events[-1]["response"]["output"]
    assert json.loads(item["content"][0]["text"]) in ({"done": True}, {"done": False})


def test_a_probe_with_nothing_to_say_is_answered(http: httpx.Client) -> None:
    for body in ({"input": "", "max_output_tokens": 1}, {"input": [], "max_output_tokens": 1}):
        response = http.post(RESPONSES.path, json={**body, "instructions": "x"})
        assert response.status_code == 200, response.text
        assert response.json()["status"] in ("completed", "incomplete")
    failure = RESPONSES.refusal(http.post(RESPONSES.path, json={"input": []}))
    assert (failure.status, failure.param) == (400, "input")


@pytest.mark.parametrize("tier", ["fast", "ultrafast", "priority", None])
def test_new_words_are_no_errors(http: httpx.Client, tier: str | None) -> None:
    more = {
        "service_tier": tier,
        "include": ["something.new"],
        "reasoning": {"effort": "ultra", "summary": "auto", "context": "all"},
        "text": {"verbosity": "tiny", "colour": "red"},
        "stream_options": {"include_obfuscation": False, "new": 1},
    }
    assert sent(http, codex(**more, max_output_tokens=2))[-1]["type"].startswith("response.")
