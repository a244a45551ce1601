"""Prompts as chains of marks, and what a worker is believed to have of them."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.pool.placement import Offer, choose
from gateway.pool.prefixes import BLOCK, REACH, UNKNOWN, Chain, Chains, Holdings, chain
from workers.protocol import (
    Chat,
    Embedding,
    Generate,
    GenerationParams,
    Infill,
    Prompt,
    Sampling,
    Text,
    Tokens,
    ToolUse,
)


def chat(*texts: str, **fields: Any) -> Chat:
    """A conversation whose messages have these texts."""
    roles = ["system", *["user", "assistant"] * len(texts)]
    return Chat([{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)], **fields)


def tools(name: str) -> ToolUse:
    return ToolUse([{"type": "function", "function": {"name": name}}], [name], False, True)


TEXT = st.text("ab\xff€", max_size=40) | st.sampled_from([n * "x" for n in (31, 512, 900, 9000)])
PLAIN = TEXT.map(Text)
IDS = st.lists(st.integers(0, 2**31 - 1), max_size=300).map(Tokens)
CHATS = st.lists(TEXT, min_size=1, max_size=6).map(lambda texts: chat(*texts))
PROMPTS = PLAIN | IDS | CHATS


def longer(prompt: Prompt, more: str) -> Prompt:
    """A prompt that begins with all of another."""
    if isinstance(prompt, Chat):
        return Chat([*prompt.messages, {"role": "user", "content": more}])
    if isinstance(prompt, Tokens):
        return Tokens([*prompt.ids, *more.encode()])
    assert isinstance(prompt, Text)
    return Text(prompt.text + more)


# --------------------------------------------------------------------------- chains


@given(PROMPTS)
def test_marks_are_few_and_reach_the_end(prompt: Prompt) -> None:
    found = chain(prompt)
    assert len(found.marks) == len(found.ends)
    assert list(found.ends) == sorted(set(found.ends))
    assert found.size == (found.ends[-1] if found.ends else 0)
    gaps = [end - start for start, end in zip((0, *found.ends), found.ends, strict=False)]
    assert all(0 < gap <= max(BLOCK, end // 16) for gap, end in zip(gaps, found.ends, strict=True))
    assert all(gap >= BLOCK // 16 for gap in gaps[:-1])


@given(PROMPTS, TEXT)
def test_who_goes_on_with_another_has_its_marks(prompt: Prompt, more: str) -> None:
    """All but the last, which is where the shorter one happens to end."""
    first, second = chain(prompt), chain(longer(prompt, more))
    count = max(0, len(first.marks) - 1)
    assert second.marks[:count] == first.marks[:count]
    assert second.ends[:count] == first.ends[:count]
    assert second.common(first) == first.common(second) >= (0, *first.ends)[count]


@given(PROMPTS, PROMPTS)
def test_what_is_common_is_common(one: Prompt, other: Prompt) -> None:
    assume(one != other)
    left, right = chain(one), chain(other)
    count = sum(1 for a, b in zip(left.marks, right.marks, strict=False) if a == b)
    assert left.marks[:count] == right.marks[:count], "equal ones come first"
    assert left.common(right) == (left.ends[count - 1] if count else 0)
    if isinstance(one, Text) and isinstance(other, Text):
        shared = left.common(right)
        assert one.text.encode()[:shared] == other.text.encode()[:shared]


def test_a_turn_of_a_chat_begins_with_the_turns_before() -> None:
    turns = [40 * "a", 50 * "b", 60 * "c", 70 * "d"]
    for count in range(1, 4):
        before, after = chain(chat(*turns[:count])), chain(chat(*turns))
        assert after.common(before) == before.size


def test_a_message_that_begins_like_another() -> None:
    one, other = chain(chat("s" * 2000 + "x")), chain(chat("s" * 2000 + "y" * 99))
    assert 2000 - BLOCK < one.common(other) <= 2000 + 30


@pytest.mark.parametrize(
    "other",
    [
        chat("b" * 100),
        chat("a" * 100, tools=tools("f")),
        chat("a" * 100, arguments={"enable_thinking": False}),
        Chat([{"role": "user", "content": "a" * 100}]),
        Chat([{"role": "system", "name": "x", "content": "a" * 100}]),
        Text("a" * 100),
        Infill("a" * 100, ""),
        Tokens([1]),
    ],
    ids=repr,
)
def test_what_differs_from_the_beginning_has_nothing_in_common(other: Prompt) -> None:
    assert chain(chat("a" * 100)).common(chain(other)) == 0


def test_text_can_not_look_like_two_messages() -> None:
    parts = chain(Infill("x" * 99, "y")), chain(Infill("x" * 98, "xy"))
    assert parts[0].common(parts[1]) == 0


def test_ids_are_no_text() -> None:
    assert chain(Tokens([65])).common(chain(Text("A\0\0\0"))) == 0


def test_where_the_text_before_a_hole_ends_is_where_it_begins() -> None:
    one, other = Infill("x" * 2000, "the end"), Infill("x" * 2000 + "more", "the end")
    assert chain(one).common(chain(other)) >= 2000 - BLOCK


def test_a_message_without_text_counts_too() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "a" * 40}]}
    one, other = Chat([call]), Chat([{**call, "tool_calls": [{"id": "b" * 40}]}])
    assert chain(one) == chain(one)
    assert chain(one).common(chain(other)) == 0


@pytest.mark.parametrize(
    "prompt",
    [Text("x" * (2 * REACH)), chat(*["y"] * 100_000), Tokens([1] * REACH)],
    ids=["text", "messages", "ids"],
)
def test_the_longest_prompt_has_few_marks(prompt: Prompt) -> None:
    assert len(chain(prompt).marks) < 2000
    assert chain(prompt).ends[-1] <= REACH
    assert isinstance(prompt, Text | Tokens) or chain(prompt).size < REACH + 99, "nor all messages"


@given(PROMPTS, st.text(max_size=3), st.text(max_size=3))
def test_prompts_of_two_scopes_have_nothing_in_common(
    prompt: Prompt, mine: str, yours: str
) -> None:
    here, there = chain(prompt, mine), chain(prompt, yours)
    assert here.ends == there.ends
    assert here.common(there) == (here.size if mine == yours else 0)


def request(prompt: Prompt, **fields: Any) -> Generate:
    return Generate(1, 1, prompt, GenerationParams(Sampling(1), 16, **fields), 0.0)


@pytest.mark.parametrize(
    ("fields", "shares"),
    [
        ({}, True),
        ({"cache_prompt": False}, False),
        ({"embedding": Embedding()}, False),
        ({"echo": True}, True),
        ({"logprobs": 0}, True),
        ({"echo": True, "logprobs": 0}, False),
    ],
    ids=repr,
)
def test_who_must_compute_all_of_it_has_no_marks(fields: dict[str, Any], shares: bool) -> None:
    chains, prompt = Chains(), Text("x" * 50)
    chains.of(request(prompt))
    found = chains.of(request(prompt, **fields))
    assert found == (chain(prompt) if shares else Chain(size=50))


def test_a_chain_is_made_once_for_all_completions() -> None:
    chains, prompt = Chains(), Text("x" * 50)
    first = chains.of(request(prompt))
    assert chains.of(msgspec.structs.replace(request(prompt), priority=2.0)) is first
    assert chains.of(request(Text("y" * 50))) != first


def test_a_chain_is_that_of_its_scope() -> None:
    chains, prompt = Chains(), Text("x" * 50)
    scoped = msgspec.structs.replace(request(prompt), cache_scope="a")
    assert chains.of(request(prompt)) == chain(prompt)
    assert chains.of(scoped) == chain(prompt, "a")
    assert chains.of(scoped) != chains.of(request(prompt))


# --------------------------------------------------------------------------- holdings


@given(st.lists(PROMPTS, min_size=1, max_size=5), st.integers(0, 5000))
def test_what_was_sent_last_is_held_as_far_as_there_is_room(
    prompts: list[Prompt], capacity: int
) -> None:
    held = Holdings(capacity)
    for id_, prompt in enumerate(prompts):
        held.begin(id_, chain(prompt))
    last = chain(prompts[-1])
    assert held.spared(last) == max([end for end in last.ends if end <= capacity], default=0)
    assert held._size == sum(held._marks.values()) <= capacity


def test_what_was_not_used_for_longest_goes_first() -> None:
    old, new, newest = (chain(Text(letter * 400)) for letter in "abc")
    held = Holdings(800)
    for id_, prompt in enumerate((old, new, old, newest)):
        held.begin(id_, prompt)
    assert [held.spared(prompt) for prompt in (old, new, newest)] == [400, 0, 400]


def test_a_worker_is_believed_to_hold_as_much_as_it_says_last() -> None:
    old, new = chain(Text("a" * 400)), chain(Text("b" * 400))
    held = Holdings(400)
    held.begin(1, old)
    held.resize(800)
    held.begin(2, new)
    assert (held.spared(old), held.spared(new)) == (400, 400)
    held.resize(400)
    assert (held.spared(old), held.spared(new)) == (0, 400)


def test_the_common_beginning_stays_longest() -> None:
    system, first, second = "s" * 500, "a" * 500, "b" * 500
    held = Holdings(1200)
    held.begin(1, chain(chat(system, first)))
    held.begin(2, chain(chat(system, second)))
    assert held.spared(chain(chat(system, second))) == chain(chat(system, second)).size
    assert 500 < held.spared(chain(chat(system, first))) < 600


def test_what_many_use_is_worth_less_to_each() -> None:
    """They'd all be spared it elsewhere, once it has been computed there."""
    system = "s" * 600
    mine = chain(chat(system, "a" * 300))
    shared = chain(chat(system)).size
    held = Holdings(10_000)
    held.begin(1, mine)
    held.end(1)
    assert held.appraise(mine) == (mine.size, mine.size, 0)
    for users in (1, 2, 3):
        held.begin(users, chain(chat(system, f"{users}" * 50)))
        held.computed(users)
        spared, worth, backlog = held.appraise(mine)
        assert (spared, backlog) == (mine.size, 0)
        assert worth == pytest.approx(mine.size - shared + shared / (users + 1))
    held.end(2)
    assert held.appraise(mine)[1] == pytest.approx(mine.size - shared + shared / 3)


def test_a_worker_seems_as_empty_as_it_is_of_ones_own() -> None:
    """Another scope's prompts count as work to do, whatever they begin with."""
    prompt, other = Text("s" * 600), Text("t" * 600)
    held = Holdings(10_000)
    held.begin(1, chain(prompt, "theirs"))
    assert (
        held.appraise(chain(prompt, "mine")) == held.appraise(chain(other, "mine")) == (0, 0, 600)
    )
    held.computed(1)
    held.end(1)
    assert held.appraise(chain(prompt, "mine")) == (0, 0, 0)
    assert held.appraise(chain(prompt, "theirs")) == (600, 600, 0)


def test_the_backlog_is_what_others_must_compute() -> None:
    system = "s" * 600
    first, second = chain(chat(system, "a" * 300)), chain(chat(system, "b" * 200))
    shared = chain(chat(system)).size
    held = Holdings(10_000)
    held.begin(1, first)
    assert held.appraise(UNKNOWN)[2] == first.size
    assert held.appraise(second)[2] == first.size - shared
    held.begin(2, second)
    assert held.appraise(UNKNOWN)[2] == first.size + second.size - shared, "the same once"
    held.computed(1)
    assert held.appraise(UNKNOWN)[2] == second.size - shared
    held.end(2)
    assert held.appraise(UNKNOWN)[2] == 0
    held.begin(3, Chain(size=77))
    assert held.appraise(second)[2] == 77


# --------------------------------------------------------------------------- together


def placed(slots: int, neighbour: int, prompts: list[Chain]) -> list[int]:
    """Return which of two idle workers each of several generations gets that come at once."""
    workers, places = [Holdings(10**6), Holdings(10**6)], list[int]()
    for id_, prompt in enumerate(prompts):
        free = [slots - places.count(at) for at in (0, 1)]
        offers = [Offer(at, free[at], *workers[at].appraise(prompt)) for at in (0, 1)]
        choice = choose(offers, neighbour)
        assert choice is not None
        workers[choice[0]].begin(id_, prompt)
        places.append(choice[0])
    return places


def test_completions_of_a_long_prompt_stay_together() -> None:
    assert placed(8, 4 * 24, [chain(Text("x" * 1300))] * 4) == [0, 0, 0, 0]
    assert placed(3, 4 * 24, [chain(Text("x" * 1300))] * 5) == [0, 0, 0, 1, 1], (
        "while there is room"
    )


def test_those_of_a_tiny_one_do_not() -> None:
    assert placed(8, 512, [chain(chat("2 + 2 ="))] * 4) == [0, 1, 0, 1]


def test_a_system_prompt_that_many_use_spreads() -> None:
    """Both workers compute it once, and then the less busy one is as good as the other."""
    prompts = [chain(chat("s" * 2000, f"{n}" * 50)) for n in range(10)]
    places = placed(8, 4 * 64, prompts)
    assert places[0] == places[1] == 0
    assert sorted([places.count(0), places.count(1)]) == [5, 5]
