"""Old turns go, calls and their results together, and no more of them than has to."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.truncation import MAX_QUESTIONS, droppable, truncated
from workers.protocol import longest_prompt

Plain = dict[str, Any]
KINDS = ("system", "user", "answer", "calls", "late")


@st.composite
def conversations(draw: st.DrawFn) -> list[Plain]:
    found: list[Plain] = []
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1)):
        text = "x" * draw(st.integers(0, 40))
        if kind in ("calls", "late"):
            ids = [f"call_{len(found)}_{n}" for n in range(draw(st.integers(1, 3)))]
            calls = [{"id": id_} for id_ in ids]
            found.append({"role": "assistant", "content": text, "tool_calls": calls})
            for id_ in ids:
                if kind == "late":  # the user says something first
                    found.append({"role": "user", "content": text})
                found.append({"role": "tool", "content": text, "tool_call_id": id_})
        else:
            found.append({"role": "assistant" if kind == "answer" else kind, "content": text})
    return found


def tokens(messages: list[Plain]) -> int:
    return sum(4 + len(message["content"]) for message in messages)


@given(conversations(), st.integers(1, 400))
def test_what_is_left_is_whole(messages: list[Plain], most: int) -> None:
    asked = 0

    async def count(given: list[Plain]) -> int:
        nonlocal asked
        asked += 1
        return tokens(given)

    left = asyncio.run(truncated(messages, lambda: most, count))
    assert asked <= MAX_QUESTIONS
    said, kept = (([m for m in each if m["role"] != "system"]) for each in (messages, left))
    told = [m for m in messages if m["role"] == "system"]
    assert [m for m in left if m["role"] == "system"] == told  # all of them
    assert kept == said[len(said) - len(kept) :]  # the newest
    assert {m["tool_call_id"] for m in left if m["role"] == "tool"} == {
        call["id"] for m in left for call in m.get("tool_calls", ())
    }
    if tokens(messages) <= most:
        assert left == messages
    elif tokens(left) > most:  # all that may go is gone
        gone = {at for group in droppable(messages) for at in group}
        assert left == [m for at, m in enumerate(messages) if at not in gone]


def test_of_turns_of_one_size_as_few_go_as_have_to() -> None:
    messages: list[Plain] = [{"role": "system", "content": "be"}]
    for n in range(400):
        messages.append({"role": "user", "content": f"question {n:04}"})
        messages.append({"role": "assistant", "content": f"answer {n:06}"})

    async def count(given: list[Plain]) -> int:
        return tokens(given)

    left = asyncio.run(truncated(messages, lambda: 1000, count))
    pair = tokens(messages[1:3])
    assert 1000 - pair < tokens(left) <= 1000
    assert left[1]["role"] == "user"


def test_calls_of_one_id_are_told_apart() -> None:
    """Some clients number the calls of each turn anew."""
    turn: list[Plain] = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "call_0"}]},
        {"role": "tool", "content": "y", "tool_call_id": "call_0"},
    ]
    assert droppable(turn * 3) == [[0], [1, 2], [3], [4, 5], [6]]


def test_room_is_kept_for_an_answer() -> None:
    assert longest_prompt(8192, None) == 8192 - 1024
    assert longest_prompt(8192, 100) == 8092
    assert longest_prompt(1000, 5000) == 750
    assert longest_prompt(8192, 0) == 8191
