"""A worker dies inside a thought, a tool call or a text: same items, same ids, no event twice."""

import json
from typing import Any

import pytest

from tests.chaos.conftest import StartExact
from tests.support.killing import healthy, kill
from tests.support.response_events import ResponseStreaming
from tests.support.thinking import THINKS

pytestmark = pytest.mark.usefixtures("unmeasured")

NUMBERS = {
    "type": "object",
    "properties": {"n": {"type": "array", "items": {"type": "integer"}, "minItems": 60}},
    "required": ["n"],
    "additionalProperties": False,
}
LINES = 'start: line{40}\nline: /[a-z]+/ "\\n"'
FUNCTION = {"type": "function", "name": "add", "parameters": NUMBERS}
CUSTOM = {
    "type": "custom",
    "name": "note",
    "format": {"type": "grammar", "syntax": "lark", "definition": LINES},
}
CASES: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("text", "output_text", {"ignore_eos": True}, ()),
    ("thought", "reasoning_text", {"ignore_eos": True}, ("--chat-template", THINKS)),
    (
        "limited",
        "output_text",
        {"ignore_eos": True, "thinking_budget_tokens": 60},
        ("--chat-template", THINKS),
    ),
    (
        "summary",
        "reasoning_summary_text",
        {"ignore_eos": True, "reasoning": {"summary": "auto"}},
        ("--chat-template", THINKS),
    ),
    ("function", "function_call_arguments", {"tools": [FUNCTION], "tool_choice": "required"}, ()),
    ("custom", "custom_tool_call_input", {"tools": [CUSTOM], "tool_choice": "required"}, ()),
]


@pytest.mark.parametrize(("kind", "more", "options"), [case[1:] for case in CASES])
def test_a_death_changes_nothing(
    start_exact: StartExact, kind: str, more: dict[str, Any], options: tuple[str, ...]
) -> None:
    server = start_exact(1, 2, *options)
    body = {"input": "tell me", "temperature": 1, "seed": 3, "max_output_tokens": 240, **more}
    expected = told(ResponseStreaming(server, body).finish())
    stream = ResponseStreaming(server, body).wait_for(kind, 40)
    seen = len(stream.events)
    kill(server.pids()[0])
    final = stream.finish()
    assert len(stream.events) > seen, "it was killed in the middle"
    assert told(final) == expected
    assert stream.deltas(kind)
    healthy(server, 1)


def test_a_death_behind_the_scenes_changes_nothing(start_exact: StartExact) -> None:
    """Work in the background goes on; a reader who comes then reads it all."""
    server = start_exact(1, 1)
    body = {"input": "tell me", "ignore_eos": True, "max_output_tokens": 240, "temperature": 0}
    expected = told(ResponseStreaming(server, body).finish())
    stream = ResponseStreaming(server, {**body, "background": True}).wait_for("output_text", 40)
    kill(server.pids()[0])
    assert told(stream.finish()) == expected
    healthy(server, 1)


def told(response: dict[str, Any]) -> Any:
    """The words of a response, with ids that do not depend on the request."""
    name = response["id"].removeprefix("resp_")
    items = json.loads(json.dumps(response["output"]).replace(name, "NAME"))
    return items, response["status"], response["usage"]["output_tokens"]
