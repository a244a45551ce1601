"""The lines of an answer: whole calls, thoughts apart, one end; and numbers that make sense."""

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.ollama.answer import ChatWriter, GenerateWriter
from gateway.api.ollama.metrics import metrics
from gateway.api.reply import Completion
from gateway.core.clock import NANO
from gateway.core.errors import Unavailable
from gateway.dispatch.ticket import Ticket
from tests.support.memory_pool import job, only
from workers.protocol import CallDelta, Delta, Extra, Finished, Logprob, Started, TokenChance

NUMBERS = {
    "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_cached_count",
    "prompt_eval_duration", "eval_count", "eval_duration",
}  # fmt: skip
Event = Started | Delta | Finished


def delta(text: str = "", thought: str = "", *calls: CallDelta) -> Delta:
    extra = Extra(thought, list(calls)) if thought or calls else None
    return Delta(1, 1, [7], text, extra)


def finished(reason: str = "stop", text: str = "", *calls: CallDelta) -> Finished:
    return Finished(1, 1, reason, [8], text, Extra("", list(calls)) if calls else None)


def lines(*events: Event, writer: ChatWriter | GenerateWriter | None = None) -> list[Any]:
    writer = writer or ChatWriter(Ticket(1, job(), 0), "m:latest", logprobs=False)
    data = b"".join(map(writer.event, events))
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def said(found: list[Any]) -> list[Any]:
    """The messages without their role, and without what is empty."""
    for line in found:
        assert line["model"] == "m:latest"
        assert datetime.fromisoformat(line["created_at"]).tzinfo is not None
        assert line["message"].pop("role") == "assistant"
        assert isinstance(line["message"]["content"], str)
    return [{name: value for name, value in line["message"].items() if value} for line in found]


def test_a_text() -> None:
    *chunks, last = lines(Started(1, 1, 7, 3), delta("Hel"), delta("lo"), finished("stop", "!"))
    assert said(chunks) == [{"content": "Hel"}, {"content": "lo"}, {"content": "!"}]
    assert [chunk.keys() for chunk in chunks] == [{"model", "created_at", "message", "done"}] * 3
    assert [chunk["done"] for chunk in chunks] == [False] * 3
    assert said([last]) == [{}]
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert last.keys() == {"model", "created_at", "message", "done", "done_reason", *NUMBERS}


@pytest.mark.parametrize(
    ("reason", "told"), [("stop", "stop"), ("tool_calls", "stop"), ("length", "length")]
)
def test_reasons(reason: str, told: str) -> None:
    assert lines(finished(reason))[-1]["done_reason"] == told


def test_thoughts_stand_apart() -> None:
    found = lines(delta("", "Hm"), delta("Yes", "."), finished())
    assert said(found[:-1]) == [{"thinking": "Hm"}, {"thinking": ".", "content": "Yes"}]


def call(index: int, name: str, city: str) -> dict[str, Any]:
    function = {"index": index, "name": name, "arguments": {"city": city}}
    return {"function": function}


def calls_of(found: list[Any], writer_ids: set[str] | None = None) -> list[list[Any]]:
    told = [each["tool_calls"] for each in said(found) if "tool_calls" in each]
    seen = [one.pop("id") for each in told for one in each]
    assert len(set(seen)) == len(seen)
    assert all(id_.startswith("call_") for id_ in seen)
    return told


def test_calls_are_whole() -> None:
    """A call is told when another begins, a text follows, or the answer ends."""
    found = lines(
        delta("Let me see.", "", CallDelta(0, "weather", '{"ci')),
        delta("", "", CallDelta(0, None, 'ty": "Oslo"}'), CallDelta(1, "weather", "")),
        delta("", "", CallDelta(1, None, '{"city": "Rome"}')),
        finished("tool_calls"),
    )
    assert [line["message"]["content"] for line in found] == ["Let me see.", "", "", ""]
    assert calls_of(found) == [[call(0, "weather", "Oslo")], [call(1, "weather", "Rome")]]
    assert found[-1]["done_reason"] == "stop"


def test_a_text_after_a_call() -> None:
    found = lines(
        delta("", "", CallDelta(0, "weather", '{"city": "Oslo"}')), delta("Done."), finished()
    )
    assert [line["message"]["content"] for line in found] == ["", "Done.", ""]
    assert calls_of(found[:1]) == [[call(0, "weather", "Oslo")]]


def test_a_call_with_half_a_character() -> None:
    """A grammar allows it, and so the call must not be lost."""
    found = lines(delta("", "", CallDelta(0, "weather", r'{"city": "a\ud83d"}')), finished())
    assert calls_of(found) == [[call(0, "weather", "a\ufffd")]]


@pytest.mark.parametrize("arguments", ['{"city": "Os', "[1]", '"x"', "{"])
def test_a_call_that_was_cut_is_none(arguments: str) -> None:
    found = lines(delta("", "", CallDelta(0, "weather", arguments)), finished("length"))
    assert calls_of(found) == []
    whole = Completion(reason="length")
    whole.take(delta("", "", CallDelta(0, "weather", arguments)))
    writer = ChatWriter(Ticket(1, job(), 0), "m:latest", logprobs=False)
    assert "tool_calls" not in writer.whole(whole)["message"]


def test_logprobs_stand_beside_the_message() -> None:
    chance = Logprob(TokenChance(5, b"Hi", -0.5), [TokenChance(6, b"Ha", -1.5)])
    writer = ChatWriter(Ticket(1, job(), 0), "m:latest", logprobs=True)
    first, last = lines(Delta(1, 1, [5], "Hi", Extra(logprobs=[chance])), finished(), writer=writer)
    (told,) = first["logprobs"]
    assert (told["token"], told["logprob"], told["bytes"]) == ("Hi", -0.5, [72, 105])
    assert told["top_logprobs"] == [{"token": "Ha", "logprob": -1.5, "bytes": [72, 97]}]
    assert "logprobs" not in last


@given(st.data())
def test_a_whole_answer_is_what_a_stream_brings(data: st.DataObject) -> None:
    """However the answer comes in pieces."""
    events: list[Delta | Finished] = []
    index = -1
    for _ in range(data.draw(st.integers(0, 8))):
        calls: list[CallDelta] = []
        for _ in range(data.draw(st.integers(0, 2))):
            index += 1
            calls.append(CallDelta(index, f"f{index}", '{"city"'))
            calls.append(CallDelta(index, None, f': "{index}"}}'))
        events.append(delta(data.draw(st.text(max_size=3)), data.draw(st.text(max_size=3)), *calls))
    events.append(finished("stop", data.draw(st.text(max_size=3))))
    ticket, completion = Ticket(1, job(), 0), Completion()
    writer = ChatWriter(ticket, "m:latest", logprobs=False)
    found = lines(*events, writer=writer)
    for event in events:
        completion.take(event)
    whole = writer.whole(completion)
    assert "".join(line["message"]["content"] for line in found) == whole["message"]["content"]
    thoughts = "".join(line["message"].get("thinking", "") for line in found)
    assert thoughts == whole["message"].get("thinking", "")
    told = [one for line in found for one in line["message"].get("tool_calls", [])]
    assert told == whole["message"].get("tool_calls", [])
    assert len(told) == index + 1
    assert [line["done"] for line in found] == [False] * (len(found) - 1) + [True]


def test_a_prompts_answer() -> None:
    ticket = Ticket(1, job(prompt_ids=True), 0)
    writer = GenerateWriter(ticket, "m:latest", logprobs=False)
    only(ticket).started = Started(1, 1, 3, 0, [1, 2, 3])
    only(ticket).ids = [7, 8]
    first, last = lines(delta("Hi", "Hm"), finished(), writer=writer)
    assert (first["response"], first["thinking"], first["done"]) == ("Hi", "Hm", False)
    assert (last["response"], last["done"], last["context"]) == ("", True, [1, 2, 3, 7, 8])
    assert "message" not in last


def test_no_context_where_none_was_asked_for() -> None:
    ticket = Ticket(1, job(), 0)
    only(ticket).started = Started(1, 1, 3, 0)
    writer = GenerateWriter(ticket, "m:latest", logprobs=False)
    assert "context" not in lines(finished(), writer=writer)[-1]


def test_errors_and_waits_are_lines() -> None:
    writer = ChatWriter(Ticket(1, job(), 0), "m:latest", logprobs=False)
    (waiting,) = said([json.loads(writer.waiting())])
    assert waiting == {}
    line = writer.error(Unavailable("no worker is left"))
    assert line.endswith(b"}\n")
    assert json.loads(line) == {"error": "no worker is left", "code": "unavailable"}
    assert writer.refusal(Unavailable("later", retry_after=3)).headers["retry-after"] == "3"


# ------------------------------------------------------------------ numbers


def ended(first_ms: int | None, ended_ms: int, tokens: int) -> Ticket:
    """A request of a prompt of 10 tokens, of which 4 were cached; it waited for 100 ms."""
    ticket = Ticket(1, job(), 0)
    ticket.dispatched_ns, ticket.ended_ns = NANO // 10, ended_ms * NANO // 1000
    ticket.first_token_ns = None if first_ms is None else first_ms * NANO // 1000
    only(ticket).started = Started(1, 1, 10, 4)
    only(ticket).ids = [*range(tokens)]
    return ticket


@pytest.mark.parametrize(
    ("ticket", "prompt_ms", "answer_ms"),
    [
        (ended(300, 700, 5), 100, 500),  # 100 ms a token, of the first one, too
        (ended(200, 250, 1), 150 - 150 / 7, 150 / 7),  # of 7 tokens that were computed one
        (ended(110, 510, 2), 0, 410),  # no more than there is
        (ended(None, 250, 0), 150, 0),
    ],
)
def test_durations(ticket: Ticket, prompt_ms: float, answer_ms: float) -> None:
    found = metrics(ticket)
    assert found.keys() == NUMBERS
    assert found["prompt_eval_duration"] == pytest.approx(prompt_ms * 1e6, abs=2)
    assert found["eval_duration"] == pytest.approx(answer_ms * 1e6, abs=2)
    parts = ("load_duration", "prompt_eval_duration", "eval_duration")
    assert sum(found[name] for name in parts) == found["total_duration"]  # type: ignore[literal-required]
    assert all(isinstance(value, int) and value >= 0 for value in found.values())
    assert (found["prompt_eval_count"], found["load_duration"]) == (10, NANO // 10)


def test_a_request_that_never_had_a_slot() -> None:
    ticket = Ticket(1, job(), 5)
    ticket.ended_ns = 12
    found = metrics(ticket)
    assert (found["total_duration"], found["load_duration"], found["eval_duration"]) == (7, 7, 0)
