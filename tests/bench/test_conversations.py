"""Lifelike workloads: how long what is, what is shared, what is copied, and that seeds decide."""

from __future__ import annotations

import random
from statistics import median

import pytest

pytest.importorskip("gguf", reason="the benchmarks need the extra [bench]")

from hypothesis import given
from hypothesis import strategies as st

from bench.serving.conversations import (
    CHAT,
    LONG,
    RESULT,
    Conversation,
    Lengths,
    agents,
    chats,
    edited,
    edits,
    fitted,
    mixed,
    source,
)
from bench.serving.prompts import Prompts
from bench.serving.repeats import PIECE, repeated

WORDS = [f"{a}{b}ry" for a in ("can", "lib", "sum", "tan") for b in "aeiou"]
ROOM = 4096


def prompts(seed: str = "a") -> Prompts:
    return Prompts(WORDS, seed)


def words(conversation: Conversation) -> list[int]:
    """Of each message that the client adds."""
    return [len(m["content"].split()) for turn in conversation for m in turn.added]


def total(conversation: Conversation) -> int:
    return sum(words(conversation)) + sum(turn.max_tokens for turn in conversation)


def test_lengths_are_log_normal_and_bounded() -> None:
    rng = random.Random(1)
    drawn = [CHAT.words.draw(rng) for _ in range(4000)]
    assert median(drawn) == pytest.approx(90, rel=0.05)
    assert CHAT.words.least <= min(drawn)
    assert max(drawn) == CHAT.words.most
    assert sum(n > 90 * 2 for n in drawn) / 4000 == pytest.approx(0.16, abs=0.02)
    assert {Lengths(50, 0, 50, 50).draw(rng) for _ in range(9)} == {50}


@given(st.floats(0.001, 10), st.integers(0, 99))
def test_scaled_lengths_are_never_longer(by: float, seed: int) -> None:
    scaled = LONG.words.scaled(by)
    assert 1 <= scaled.least <= scaled.most <= LONG.words.most
    assert scaled.draw(random.Random(seed)) <= LONG.words.draw(random.Random(seed))


def test_the_same_seed_gives_the_same_conversations() -> None:
    for make in (chats, mixed):
        assert make(prompts(), 8, ROOM) == make(prompts(), 8, ROOM)
        assert make(prompts(), 8, ROOM) != make(prompts("b"), 8, ROOM)
    assert agents(prompts(), 3, ROOM, 4) == agents(prompts(), 3, ROOM, 4)
    assert edits(prompts(), 3, ROOM, 5) == edits(prompts(), 3, ROOM, 5)


def test_documents() -> None:
    found = chats(prompts(), 200, ROOM, LONG)
    assert all(900 <= words(one)[0] <= 1700 for one in found)
    assert {one[0].max_tokens for one in found} <= {*range(48, 97)}


def test_one_of_four_is_long() -> None:
    found = mixed(prompts(), 16, ROOM)
    assert [at for at, one in enumerate(found) if words(one)[0] >= 900] == [1, 5, 9, 13]


def test_agents_share_their_tools() -> None:
    found = agents(prompts(), 40, 16_384, 4)
    assert {len(one) for one in found} == {4}
    (system,) = {one[0].added[0]["content"] for one in found}
    assert found[0][0].added[0]["role"] == "system"
    assert len(PIECE.findall(system)) == pytest.approx(700, rel=0.02)
    results = [len(turn.added[0]["content"].split()) - 2 for one in found for turn in one[1:]]
    assert all(RESULT.least <= n <= RESULT.most for n in results)
    assert median(results) == pytest.approx(RESULT.median, rel=0.2)
    assert max(results) > 3 * min(results)


@given(st.integers(1024, 40_000), st.integers(1, 6), st.integers(0, 9))
def test_conversations_fit(room: int, turns: int, seed: int) -> None:
    """A word may be more than a token: what is left for that grows with the room."""
    for one in agents(prompts(f"{seed}"), 4, room, turns):
        assert total(one) <= room
    for one in (*chats(prompts(f"{seed}"), 8, room), *chats(prompts(f"{seed}"), 8, room, LONG)):
        assert total(one) <= room


@given(st.lists(st.integers(1, 2000), min_size=1), st.integers(1, 9000))
def test_what_does_not_fit_is_shortened_alike(lengths: list[int], room: int) -> None:
    found = fitted(lengths, room)
    if sum(lengths) <= room:
        assert found == lengths
    else:
        assert sum(found) <= room + len(lengths), "each has one at least"
        assert all(mine <= given for mine, given in zip(found, lengths, strict=True))


def test_edits_change_some_lines() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        lines = source(prompts(f"{seed}"), 5)
        after = edited(lines, rng)
        changed = [at for at, line in enumerate(lines) if line != after[at]]
        assert 1 <= len(changed) <= 4
        assert len(after) == len(lines)


def test_an_edit_shows_the_file_twice_and_asks_for_the_third() -> None:
    (one,) = edits(prompts(), 1, ROOM, 5)
    (turn,) = one
    assert [message["role"] for message in turn.added] == ["user", "assistant", "user"]
    before, answer, after = (message["content"] for message in turn.added)
    assert before == answer != after
    asked = "\n".join((before, answer, after))
    again, all_ = repeated(asked, after)
    assert again == all_ > 100, "the right answer is a copy"


def test_repeated_grams() -> None:
    text = "a b c d e f g h i j"
    assert repeated("", text) == (0, 3)
    assert repeated(text, text) == (3, 3)
    assert repeated("", f"{text} {text}") == (3, 13)
    assert repeated("f(a, b): c", "x f(a, b): c") == (1, 2), "marks count as words do"
    assert repeated("a b", "a b") == (0, 0), "too short to say"
