"""A worker dies inside a thought, a tool call or a text: same blocks, same ids, no event twice."""

import json
import threading
from typing import Any

import anthropic
import pytest

from tests.chaos.conftest import StartExact
from tests.chaos.test_kill_responses import NUMBERS
from tests.support.killing import healthy, kill
from tests.support.server import DEADLINE_S, ForgeServer, eventually
from tests.support.thinking import THINKS

pytestmark = pytest.mark.usefixtures("unmeasured")

ADD = {"name": "add", "input_schema": NUMBERS}
CASES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("text_delta", {"ignore_eos": True}, ()),
    ("thinking_delta", {"ignore_eos": True}, ("--chat-template", THINKS)),
    (
        "thinking_delta",
        {"ignore_eos": True, "thinking": {"type": "enabled", "budget_tokens": 60}},
        ("--chat-template", THINKS),
    ),
    ("input_json_delta", {"tools": [ADD], "tool_choice": {"type": "any"}}, ()),
]


class MessageStreaming:
    """A message that a thread reads with the official package, which holds its own laws."""

    def __init__(self, server: ForgeServer, body: dict[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.final: dict[str, Any] | None = None
        arguments = (server.url, body)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def _run(self, url: str, body: dict[str, Any]) -> None:
        own = {name: body.pop(name) for name in ("seed", "ignore_eos") if name in body}
        with (
            anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client,
            client.messages.stream(**body, extra_body=own, timeout=DEADLINE_S) as stream,
        ):
            for event in stream:
                self.events.append(json.loads(event.to_json()))
            self.final = json.loads(stream.get_final_message().to_json())

    def deltas(self, kind: str) -> int:
        """The number of deltas of a kind so far."""
        return sum(event.get("delta", {}).get("type") == kind for event in [*self.events])

    def finish(self) -> Any:
        """The whole message, without its own name and what depends on the cache."""
        self._thread.join(DEADLINE_S)
        assert self.final is not None
        name = self.final["id"].removeprefix("msg_")
        said = json.loads(json.dumps(self.final["content"]).replace(name, "NAME"))
        return said, self.final["stop_reason"], self.final["usage"]["output_tokens"]

    def indexes(self, kind: str) -> list[int]:
        return [event["index"] for event in self.events if event["type"] == kind]


@pytest.mark.parametrize(("kind", "more", "options"), CASES)
def test_a_death_changes_nothing(
    start_exact: StartExact, kind: str, more: dict[str, Any], options: tuple[str, ...]
) -> None:
    server = start_exact(1, 2, *options)
    asked = [{"role": "user", "content": "tell me"}]
    body = {"model": "forge-tiny", "messages": asked, "seed": 3, "max_tokens": 240, **more}
    expected = MessageStreaming(server, {**body}).finish()
    stream = MessageStreaming(server, {**body})
    eventually(lambda: stream.deltas(kind) >= 4, "the stream runs")
    seen = len(stream.events)
    kill(server.pids()[0])
    assert stream.finish() == expected
    assert len(stream.events) > seen, "it was killed in the middle"
    starts = stream.indexes("content_block_start")
    assert starts == stream.indexes("content_block_stop") == list(range(len(starts)))
    healthy(server, 1)
