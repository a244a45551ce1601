"""Places where prompts are likely to part from each other."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.planning.borders import DISTANCES, LAST, LEAST, borders

START = 0
"""The only control token of these texts, but for END."""
END = 1
MOST = LAST + 2 + len(DISTANCES)


def of(text: str) -> list[int]:
    return borders([ord(letter) for letter in text], lambda token: token == ord("<"))


def control(token: int) -> bool:
    return token in (START, END)


def message(size: int) -> list[int]:
    """As ChatML has it: <|im_start|>user, a line, the text, <|im_end|>, a line."""
    return [START, 5, 6, *[7] * size, END, 6]


def test_the_example() -> None:
    text = "<aaaaaa<bbbbbb<cccccc<d"
    found = of(text)
    assert found == [7, 14, 21, 22]
    assert [text[at] for at in found] == ["<", "<", "<", "d"]


def test_a_chat_of_many_turns() -> None:
    """Before the first message after the opening, the last ones, and the last token."""
    sizes = [100, *[10 + n for n in range(10)]]
    chat, starts = list[int](), list[int]()
    for size in sizes:
        starts.append(len(chat))
        chat += message(size)
    generation = len(chat)
    chat += [START, 8, 6]
    found = borders(chat, control)
    assert found[-1] == len(chat) - 1
    assert generation in found, "where a regenerated answer parts, whatever its template adds"
    # A message ends with a control token and begins with another: the positions are near.
    for start in (starts[1], starts[-1]):
        assert any(0 <= start - at < LEAST for at in found)
    assert len(found) <= MOST


@pytest.mark.parametrize("head", ["^<", "<s>", "^<s>"])
def test_the_opening_is_a_whole_message(head: str) -> None:
    """Also where a token begins the text, and where the role is between two of them."""
    turn = "<u>bbbbbbbbb"
    text = f"{head}aaaaaaaaaa" + 9 * turn
    found = borders([ord(letter) for letter in text], lambda token: chr(token) in "^<>")
    assert found[0] in (len(head) + 10, len(head) + 12), "before the first turn, or in its role"


def test_a_prompt_without_messages() -> None:
    text = "a" * 2000
    assert of(text) == [2000 - 1024, 2000 - 256, 2000 - 64, 1999]
    assert of("<" + text)[-1] == 2000, "what stands at the very beginning opens no message"
    assert of(text[:100]) == [36, 99]
    assert of(text[:64]) == [63]


def test_short_texts() -> None:
    assert of("") == of("a") == of("<") == []
    assert of("ab") == [1]
    assert of("<a<b") == [3]


def test_no_two_are_near() -> None:
    """But for the last token's; a run of control tokens would take the memory of all."""
    assert of("a<<<<<<<<<<<<b") == [4, 8, 12, 13]
    assert len(of("<" * 3000)) <= MOST


TOKENS = st.lists(st.integers(0, 3), max_size=60)


@given(TOKENS)
def test_laws(tokens: list[int]) -> None:
    found = borders(tokens, control)
    assert found == sorted(set(found))
    assert len(found) <= MOST
    assert all(0 < at < len(tokens) for at in found)
    assert all(at >= LEAST for at in found[:-1])
    assert (len(tokens) - 1 in found) == (len(tokens) > 1)
    near = [b - a < LEAST for a, b in pairwise(found[:-1])]
    assert not any(near)


@given(TOKENS, st.lists(st.integers(2, 3), min_size=5, max_size=30))
def test_a_longer_last_message_changes_none_before_it(chat: list[int], more: list[int]) -> None:
    """An edited last turn finds the state before it."""
    chat = [2, *chat, 2, 2, 2]
    short, long = borders([*chat, START, *more], control), borders([*chat, START, 3], control)
    assert len(chat) in short
    assert len(chat) in long
