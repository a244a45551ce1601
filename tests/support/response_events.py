"""The laws of a stream of the Responses dialect, and a stream that a thread reads."""

import json
import threading
from typing import Any

import httpx

from tests.support.dialects import RESPONSES, data_of
from tests.support.server import DEADLINE_S, ForgeServer, eventually

ENDS = {
    "response.completed",
    "response.incomplete",
    "response.failed",
}


def check(events: list[dict[str, Any]], final: dict[str, Any]) -> None:
    """Hold the laws of a whole stream."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    assert [event["type"] for event in events if event["type"] in ENDS] == [events[-1]["type"]]
    assert events[-1]["response"] == final
    added: dict[int, Any] = {}
    done: dict[int, Any] = {}
    texts: dict[tuple[Any, ...], str] = {}
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert event["output_index"] == len(added) == len(done)  # the one before is done
            added[event["output_index"]] = event["item"]
        elif kind == "output_item.done":
            item = added[event["output_index"]]
            assert event["output_index"] not in done
            same = ("id", "type", "call_id", "name", "namespace")
            assert {k: event["item"].get(k) for k in same} == {k: item.get(k) for k in same}
            done[event["output_index"]] = event["item"]
        elif "item_id" in event:
            assert event["item_id"] == added[event["output_index"]]["id"]
            assert event["output_index"] not in done
            place = (event["item_id"], event.get("content_index"), event.get("summary_index"))
            if kind.endswith(".delta"):
                texts[place] = texts.get(place, "") + event["delta"]
            elif kind.endswith("part.added"):
                assert event["part"]["text"] == ""
            elif kind.endswith("part.done"):
                assert event["part"]["text"] == texts.get(place, "")
            else:
                whole = {event.get(k) for k in ("text", "arguments", "input")} - {None}
                assert whole == {texts.get(place, "")}
        if kind.startswith("output_text."):
            assert isinstance(event["logprobs"], list)
    assert added.keys() == done.keys()
    assert final["output"] == [done[at] for at in sorted(done)]
    assert len({item["id"] for item in final["output"]}) == len(final["output"])


class ResponseStreaming:
    """A response that a thread reads; the events that came so far can be looked at."""

    def __init__(self, server: ForgeServer, body: dict[str, Any]) -> None:
        self.events: list[dict[str, Any]] = []
        self.broken: httpx.HTTPError | None = None
        arguments = (server.url, {**body, "stream": True})
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()

    def _run(self, url: str, body: dict[str, Any]) -> None:
        path = url + RESPONSES.path
        try:
            with httpx.stream("POST", path, json=body, timeout=DEADLINE_S) as response:
                for data in data_of(response.iter_lines()):
                    self.events.append(json.loads(data))
        except httpx.HTTPError as error:
            self.broken = error

    def deltas(self, kind: str) -> str:
        """The deltas of a kind so far, joined."""
        type_ = f"response.{kind}.delta"
        return "".join(event["delta"] for event in [*self.events] if event["type"] == type_)

    def wait_for(self, kind: str, characters: int) -> "ResponseStreaming":
        eventually(lambda: len(self.deltas(kind)) >= characters, "the stream runs")
        return self

    def finish(self) -> dict[str, Any]:
        """Read to the end, hold the laws, and return the whole response."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()
        assert self.broken is None
        final: dict[str, Any] = self.events[-1]["response"]
        check(self.events, final)
        return final
