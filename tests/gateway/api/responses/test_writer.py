"""A generation's events as the dialect's: laws, for any pieces in any order."""

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.responses.called_tool import CalledTool
from gateway.api.responses.growing_items import Wishes
from gateway.api.responses.thoughts import opened
from gateway.api.responses.types import ResponseUsage
from gateway.api.responses.writer import EventWriter
from tests.support.response_events import check
from workers.protocol import CallDelta, Delta, Extra, Finished

TOOLS = {
    "look": CalledTool("look"),
    "space__find": CalledTool("find", "space"),
    "patch": CalledTool("patch", custom=True),
}
USAGE: ResponseUsage = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 5,
}


def writer(wishes: Wishes | None = None) -> EventWriter:
    response: Any = {"id": "resp_1", "status": "in_progress", "output": [], "error": None}
    return EventWriter(response, "abc", TOOLS.__getitem__, wishes or Wishes())


@st.composite
def pieces(draw: st.DrawFn) -> list[Delta]:
    """The pieces that a worker may send: text, thoughts and calls, cut anywhere."""
    found: list[Delta] = []
    calls = 0
    for kind in draw(
        st.lists(st.sampled_from(("text", "thought", "look", "patch", "space__find")))
    ):
        if kind in ("text", "thought"):
            text = draw(st.text(min_size=1))
            extra = Extra(reasoning=text) if kind == "thought" else None
            found.append(Delta(1, 0, [7], text if extra is None else "", extra))
            continue
        whole = json.dumps({"input": draw(st.text())}, ensure_ascii=draw(st.booleans()))
        cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=4)) | {0, len(whole)})
        parts = [whole[a:b] for a, b in itertools.pairwise(cuts)]
        found.append(Delta(1, 0, [7], "", Extra(calls=[CallDelta(calls, kind, "")])))
        for part in parts:
            found.append(Delta(1, 0, [7], "", Extra(calls=[CallDelta(calls, None, part)])))
        calls += 1
    return found


@given(
    pieces(), st.booleans(), st.booleans(), st.sampled_from(("stop", "length", "fail", "cancel"))
)
def test_every_stream_holds_the_laws(
    given: list[Delta], summary: bool, sealed: bool, how: str
) -> None:
    under_test = writer(Wishes(summary, sealed))
    events: list[Any] = [*under_test.created(), *under_test.waiting(2), *under_test.started()]
    for piece in given:
        events += under_test.take(piece)
    if how == "fail":
        events += under_test.fail({"code": "server_error", "message": "no"})
    elif how == "cancel":
        events += under_test.cancel()
    else:
        events += under_test.take(Finished(1, 0, how, [], ""))
        events += under_test.finish(how, USAGE, 5)
    assert under_test.ended
    check(events, {**under_test.response})


@given(pieces())
def test_what_is_told_is_what_was_said(given: list[Delta]) -> None:
    under_test = writer(Wishes(sealed=True))
    for piece in given:
        under_test.take(piece)
    under_test.finish("stop", USAGE, 5)
    extras = [piece.extra for piece in given if piece.extra is not None]
    deltas = [call for extra in extras for call in extra.calls]
    made = ["".join(each.arguments for each in group) for _, group in by_index(deltas)]
    output = under_test.response["output"]
    texts = [item["content"][0]["text"] for item in output if item["type"] == "message"]
    assert "".join(texts) == "".join(piece.text for piece in given)
    thoughts = [item for item in output if item["type"] == "reasoning"]
    assert "".join(item["content"][0]["text"] for item in thoughts) == "".join(
        extra.reasoning for extra in extras
    )
    assert all(opened(i["encrypted_content"] or "") == i["content"][0]["text"] for i in thoughts)
    told: list[str] = []
    for item in output:
        if item["type"] == "function_call":
            told.append(item["arguments"])
        elif item["type"] == "custom_tool_call":
            told.append(item["input"])
            made[len(told) - 1] = json.loads(made[len(told) - 1])["input"]
    assert told == made


def by_index(deltas: list[CallDelta]) -> "itertools.groupby[int, CallDelta]":
    return itertools.groupby(deltas, key=lambda delta: delta.index)


def test_a_thought_that_is_asked_for_as_a_summary_has_no_content() -> None:
    under_test = writer(Wishes(summary=True))
    under_test.take(Delta(1, 0, [7, 8], "", Extra(reasoning="hm")))
    under_test.take(Delta(1, 0, [9], "Yes"))
    under_test.finish("stop", USAGE, 5)
    thought, message = under_test.response["output"]
    assert thought["type"] == "reasoning"
    assert thought["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in thought
    assert message["id"] == "msg_abc01"
    usage = under_test.response["usage"]
    assert usage is not None
    assert usage["output_tokens_details"]["reasoning_tokens"] == 2


def test_a_call_of_a_namespace_has_its_bare_name() -> None:
    under_test = writer()
    under_test.take(Delta(1, 0, [7], "", Extra(calls=[CallDelta(0, "space__find", "{}")])))
    under_test.finish("tool_calls", USAGE, 5)
    (call,) = under_test.response["output"]
    assert call["type"] == "function_call"
    assert (call["name"], call["namespace"], call["arguments"]) == ("find", "space", "{}")
    assert call["call_id"].startswith("call_")


def test_an_answer_that_is_cut_off_is_incomplete_and_so_is_its_last_item() -> None:
    under_test = writer()
    under_test.take(Delta(1, 0, [7], "One"))
    under_test.finish("length", USAGE, 5)
    response = under_test.response
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    (message,) = response["output"]
    assert message["type"] == "message"
    assert message["status"] == "incomplete"
    assert "completed_at" not in response


def test_an_answer_of_nothing_is_an_empty_message() -> None:
    under_test = writer()
    under_test.finish("stop", USAGE, 5)
    (message,) = under_test.response["output"]
    assert message["type"] == "message"
    assert message["content"] == [{"type": "output_text", "text": "", "annotations": []}]


def test_the_place_in_the_queue_is_told_while_it_waits_alone() -> None:
    under_test = writer()
    (event,) = under_test.waiting(3)
    assert event["type"] == "response.queued"
    assert event["response"]["queue"] == {"position": 3}
    (event,) = under_test.waiting(None)
    assert event["type"] == "response.in_progress"
    assert "queue" not in event["response"]
