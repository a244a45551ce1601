"""Requests of the shape that coding agents send to /v1/messages, and known ways to fail them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.api.field_policy import HEADER
from gateway.config.config import Config
from tests.support.dialects import MESSAGES
from tests.support.front import blocking_front
from tests.support.server import ALIAS

EPHEMERAL = {"type": "ephemeral"}
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,effort-2025-11-24,"
    "context-management-2025-06-27,mid-conversation-system-2026-04-07,of-next-year-2027-01-01",
    "anthropic-dangerous-direct-browser-access": "true",
    "x-app": "cli",
    "x-claude-code-session-id": "0e8d7c1a-9d5a-4e54-9d2d-2f0f4a1a0001",
    "x-claude-code-agent-id": "main",
    "user-agent": "claude-cli/2.1.230 (external, cli)",
}


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
    return {"name": name, "description": f"The tool {name}.", "input_schema": schema}


TOOLS: list[dict[str, Any]] = [
    tool("Bash", command={"type": "string", "description": "What to run."}),
    tool("Read", file_path={"type": "string"}),
    {**tool("mcp__files__list", folder={"type": "string"}), "defer_loading": True},
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    {**tool("Edit", old={"type": "string"}), "cache_control": EPHEMERAL},
]


def request(*turns: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request of Claude Code's, in the middle of its work."""
    first = {
        "role": "user",
        "content": [
            {"type": "text", "text": "<system-reminder>\nToday is Monday.\n</system-reminder>\n"},
            {"type": "text", "text": "What is 2+2?", "cache_control": EPHEMERAL},
        ],
    }
    billing = "x-anthropic-billing-header: cc_version=2.1.230.abc; cc_entrypoint=cli; cch=a5145;"
    return {
        "model": ALIAS,
        "max_tokens": 32000,
        "messages": [first, *turns],
        "system": [
            {"type": "text", "text": billing},
            {"type": "text", "text": "You are Claude Code.", "cache_control": EPHEMERAL},
            {"type": "text", "text": "Be brief."},
        ],
        "tools": TOOLS,
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "medium"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
        **fields,
    }


CALL = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "echo 4"}}
ASSISTANT = {
    "role": "assistant",
    "content": [
        {"type": "thinking", "thinking": "", "signature": "EqQBCgIYAhIM"},
        {"type": "text", "text": "Let me count."},
        {**CALL, "caller": {"type": "direct"}},
    ],
}
FOUR = {
    "type": "tool_result",
    "tool_use_id": "toolu_1",
    "content": [{"type": "text", "text": "4"}],
    "is_error": False,
    "cache_control": EPHEMERAL,
}
RESULT = {"role": "user", "content": [FOUR]}
LEFT = {"role": "system", "content": "<total_tokens>180000 tokens left</total_tokens>"}


def test_a_first_request(http: httpx.Client) -> None:
    body = request(max_tokens=8)
    response = http.post(f"{MESSAGES.path}?beta=true", json=body, headers=HEADERS)
    assert response.status_code == 200, response.text
    assert response.headers[HEADER] == "context_management"
    assert response.json()["type"] == "message"


def test_instructions_after_a_tools_result(http: httpx.Client) -> None:
    """Templates that want them at the head refused these elsewhere, which ended every request."""
    turns = (ASSISTANT, RESULT, LEFT)
    answer = http.post(MESSAGES.path, json=request(*turns, max_tokens=8), headers=HEADERS)
    assert answer.status_code == 200, answer.text
    stream = MESSAGES.stream(
        http, **{**request(*turns, max_tokens=8), "messages": request(*turns)["messages"]}
    )
    assert stream[0]["message"]["content"] == []


def test_its_conversations_share_the_long_instructions(http: httpx.Client) -> None:
    first = ask(http, request(max_tokens=1))
    other = request(max_tokens=1)
    other["system"][0]["text"] = "x-anthropic-billing-header: cc_version=2.1.231.def; cch=b1234;"
    usage = ask(http, other)["usage"]
    assert usage["input_tokens"] <= 1
    assert (
        usage["cache_read_input_tokens"]
        >= sum(first["usage"][name] for name in ("input_tokens", "cache_read_input_tokens"))
        - usage["input_tokens"]
    )


def ask(http: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    response = http.post(MESSAGES.path, json=body, headers=HEADERS)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.fixture(scope="module")
def strict() -> Iterator[httpx.Client]:
    """A gateway that refuses unknown parameters, and answers."""
    with blocking_front(Config(alias=ALIAS, unknown_parameters="refuse"), answers=True) as client:
        yield client


def test_a_strict_server_takes_them_too(strict: httpx.Client) -> None:
    body = request(ASSISTANT, RESULT, LEFT, of_next_year={"a": 1}, max_tokens=1)
    response = strict.post(f"{MESSAGES.path}?beta=true", json=body, headers=HEADERS)
    assert response.status_code == 200, response.text
    assert response.headers[HEADER] == "context_management, of_next_year"


def test_both_headers_with_a_key_and_a_probe(strict: httpx.Client) -> None:
    both = {"x-api-key": "any", "authorization": "Bearer any"}
    assert strict.get("/v1/models?limit=1000", headers=both).status_code == 200
    assert strict.head("/").status_code < 500


def test_what_is_not_there_is_told_in_its_shape(strict: httpx.Client) -> None:
    failure = MESSAGES.refusal(strict.post(f"{MESSAGES.path}/batches", json={}))
    assert failure.status == 404
    failure = MESSAGES.refusal(strict.get(MESSAGES.path))
    assert failure.status == 405
