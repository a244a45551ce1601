"""A conversation of twenty turns, as agents have it: its history is computed once.

After every result of a tool comes a reminder of the system's. It stays where it is, so the bytes
before it never change; servers that moved it to the head computed everything anew with each turn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.support.dialects import CHAT, MESSAGES, RESPONSES, Dialect

SYSTEM = "You count, and you answer briefly."
COMMAND = {"command": "echo 4"}


@dataclass(frozen=True)
class Speaker:
    """A dialect's words for a turn, and for what was answered."""

    name: str
    dialect: Dialect
    turn: Callable[[int], list[dict[str, Any]]]
    """A question, the model's call, its result, and the reminder."""
    said: Callable[[Any], list[dict[str, Any]]]
    head: list[dict[str, Any]] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    stored: bool = False
    """True: the server keeps the history, and gets what is new alone."""

    def __str__(self) -> str:
        return self.name


def chat(at: int) -> list[dict[str, Any]]:
    function = {"name": "Bash", "arguments": '{"command": "echo 4"}'}
    calls = [{"id": f"call_{at}", "type": "function", "function": function}]
    return [
        {"role": "user", "content": f"Count {at}."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": f"call_{at}", "content": "4"},
        {"role": "system", "content": f"{20 - at} turns left"},
    ]


def items(at: int) -> list[dict[str, Any]]:
    call = {"name": "Bash", "arguments": '{"command": "echo 4"}', "call_id": f"call_{at}"}
    reminder = [{"type": "input_text", "text": f"{20 - at} turns left"}]
    return [
        {"role": "user", "content": f"Count {at}."},
        {"type": "function_call", **call},
        {"type": "function_call_output", "call_id": f"call_{at}", "output": "4"},
        {"type": "message", "role": "developer", "content": reminder},
    ]


def blocks(at: int) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": f"toolu_{at}", "name": "Bash", "input": COMMAND}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{at}", "content": "4"}
    return [
        {"role": "user", "content": f"Count {at}."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        {"role": "system", "content": f"{20 - at} turns left"},
    ]


SPEAKERS = [
    Speaker(
        "chat",
        CHAT,
        chat,
        lambda body: [body["choices"][0]["message"]],
        head=[{"role": "system", "content": SYSTEM}],
    ),
    Speaker(
        "responses",
        RESPONSES,
        items,
        lambda body: list(body["output"]),
        params={"instructions": SYSTEM, "store": False},
    ),
    Speaker(
        "stored-responses",
        RESPONSES,
        items,
        lambda body: [],
        params={"instructions": SYSTEM},
        stored=True,
    ),
    Speaker(
        "messages",
        MESSAGES,
        blocks,
        lambda body: [{"role": "assistant", "content": body["content"]}],
        params={"system": SYSTEM},
    ),
]


@pytest.mark.parametrize("speaker", SPEAKERS, ids=str)
def test_twenty_turns_compute_their_history_once(http: httpx.Client, speaker: Speaker) -> None:
    """Of the prompt before, all but a twentieth comes out of the cache."""
    dialect, history = speaker.dialect, [*speaker.head]
    params = {"max_tokens": 4, "temperature": 0, **speaker.params}
    before = reread = total = 0
    for at in range(20):
        history += speaker.turn(at)
        response = http.post(dialect.path, json={dialect.field: history, **params})
        assert response.status_code == 200, response.text
        answer = dialect.answer(response)
        reread += min(before, answer.usage["prompt_tokens_details"]["cached_tokens"])
        total += before
        assert answer.usage["prompt_tokens"] > before
        before = answer.usage["prompt_tokens"]
        history += speaker.said(answer.body)
        if speaker.stored:
            history, params["previous_response_id"] = [], answer.body["id"]
    assert total > 5000
    assert reread >= 0.95 * total
