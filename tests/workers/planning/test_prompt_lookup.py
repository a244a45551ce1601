"""Drafts that are looked up: what follows what was said before, and how often that was right."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from workers.planning.prompt_lookup import INDEXED, MATCH, PromptLookup

TOKENS = st.lists(st.integers(0, 5), max_size=60)


def after(prompt: list[int], answer: list[int], prediction: Sequence[int] = ()) -> PromptLookup:
    made = PromptLookup(prompt, prediction)
    for token in answer:
        made.push(token)
    return made


def test_what_followed_before_may_follow_again() -> None:
    prompt = [*range(10, 20), 99]
    assert after(prompt, [10, 11]).draft(4) == [], "too short a match"
    assert after(prompt, [10, 11, 12]).draft(4) == [13, 14, 15, 16]
    assert after(prompt, [50, 60, 70]).draft(4) == []
    assert after(prompt, [10, 11, 12]).draft(0) == []


def test_an_edited_copy_is_followed_behind_the_edit() -> None:
    prompt = [*range(10, 30)]
    made = after(prompt, [10, 11, 12, 13, 55])
    assert made.draft(3) == []
    assert made.rate == 0
    for token in (15, 16, 17):
        made.push(token)
    assert made.draft(3) == [18, 19, 20]


def test_of_several_places_the_first_behind_the_lost_one() -> None:
    """The same line stands three times in the text; the second copy of it is being edited."""
    line = [7, 8, 9]
    prompt = [1, 2, 3, *line, 20, 4, 5, 6, *line, 30, 41, 42, 43, *line, 40]
    made = after(prompt, [1, 2, 3, *line])
    assert made.draft(1) == [20]
    for token in (77, 4, 5, 6):
        made.push(token)
    assert made.draft(4) == [*line, 30]
    for token in (78, *line):
        made.push(token)
    assert made.draft(1) == [30], "not what followed the line last"


def test_a_text_that_repeats_itself_goes_on_so() -> None:
    assert after([], [1, 2, 3, 4, 1, 2, 3]).draft(9) == [4, 1, 2, 3, 4, 1, 2, 3, 4]
    assert after([], [5] * 4).draft(3) == [5, 5, 5]


def test_a_prediction_is_drafted_from_the_first_token_on() -> None:
    made = PromptLookup([9, 9, 8], [1, 2, 3, 4])
    assert made.predicted
    assert made.draft(10) == [1, 2, 3, 4], "no longer than it is"
    assert made.rate == 0.9
    for token in (1, 2, 3):
        made.push(token)
    assert made.draft(10) == [4]
    made.push(4)
    assert made.draft(10) == []
    assert not made.predicted


def test_a_prediction_does_not_run_into_the_prompt() -> None:
    made = after([7, 7], [8, 1, 2, 3], prediction=[1, 2, 3])
    assert made.draft(5) == []
    made = after([7, 7], [8, 1, 2, 3], prediction=[1, 2, 3, 6, 1, 2, 3])
    assert made.draft(5) == [6, 1, 2, 3], "the earlier place is still known"


def test_the_rate_is_known_before_anything_was_drafted() -> None:
    prompt = [*range(100)]
    good = after(prompt, [*range(50)])
    assert good.rate > 0.97
    starts = range(0, 60, 5)
    bad = after(prompt, [token for at in starts for token in (at, at + 1, at + 2, 200)])
    for token in (90, 91, 92):
        bad.push(token)
    assert 0 < bad.rate < 0.1


@given(TOKENS, TOKENS, TOKENS, st.integers(0, 40))
def test_drafts_are_tokens_that_were_said(
    prompt: list[int], prediction: list[int], answer: list[int], most: int
) -> None:
    made = after(prompt, answer, prediction)
    found = made.draft(most)
    assert len(found) <= most
    assert set(found) <= {*prompt, *prediction, *answer}
    assert 0 <= made.rate <= 1
    assert (made.rate > 0) >= bool(found)


@given(TOKENS, TOKENS, st.integers(1, 40))
def test_a_draft_stood_behind_the_same_tokens(
    prompt: list[int], answer: list[int], most: int
) -> None:
    found = after(prompt, answer).draft(most)
    text = [*prompt, *answer]
    if found:
        last = text[-MATCH:]
        places = [at for at in range(MATCH, len(text)) if text[at - MATCH : at] == last]
        firsts = {text[at] for at in places if at < len(text)}
        assert found[0] in firsts


def test_memory_is_bounded() -> None:
    """A prompt of a million tokens, all different."""
    made = PromptLookup(range(1_000_000), range(2_000_000, 3_000_000))
    for token in range(5_000_000, 5_000_000 + 3 * INDEXED):
        made.push(token)
    assert len(made._last) + len(made._earlier) <= 3 * INDEXED
    assert after([*range(100_000)], [99_000, 99_001, 99_002]).draft(1) == [99_003], "the last ones"
