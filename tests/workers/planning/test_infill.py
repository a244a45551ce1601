"""The layout of a gap's prompt: order, and what is cut where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.planning.infill import FIMTokens, around, fitting, gap, project

PRE, SUF, MID, REP, SEP, BOS = range(900, 906)
WHOLE = FIMTokens(PRE, SUF, MID, REP, SEP)
BARE = FIMTokens(PRE, SUF, MID)
IDS = st.lists(st.integers(0, 899), max_size=300)


def letters(text: str) -> list[int]:
    return [ord(character) for character in text]


def test_a_project_begins_with_its_name_and_ends_with_this_files() -> None:
    found = project(WHOLE, [("a.h", "int a;"), ("b.h", "b")], letters)
    assert found == [
        *(REP, *letters("myproject\n")),
        *(SEP, *letters("a.h\n"), *letters("int a;")),
        *(SEP, *letters("b.h\n"), *letters("b")),
        *(SEP, *letters("filename\n")),
    ]


def test_without_a_token_for_files_a_separator_stands_before_each() -> None:
    found = project(BARE, [("a.h", "int a;"), ("b.h", "b")], letters)
    line = letters("\n\n--- snippet ---\n\n")
    assert found == [*line, *letters("int a;"), *line, *letters("b")]
    assert project(BARE, [], letters) == []


def test_the_wanted_text_begins_behind_the_prefix() -> None:
    found = gap(WHOLE, [BOS], [1, 2], [3], [4, 5])
    assert found == [BOS, PRE, 1, 2, 3, SUF, 4, 5, MID]


def test_nothing_is_cut_where_there_is_room() -> None:
    prefix, suffix = list(range(1500)), list(range(500))
    assert around(prefix, [1] * 10, suffix, 4096) == (prefix, suffix)
    assert around(prefix, [1] * 11, suffix, 4096) == (prefix, suffix[:499])


def test_what_is_farthest_from_the_gap_is_cut() -> None:
    prefix, suffix = around(list(range(2000)), [], list(range(1000)), 4096)
    assert prefix == list(range(2000 - 1536, 2000))
    assert suffix == list(range(510))


def test_a_long_beginning_leaves_no_room_for_a_suffix() -> None:
    assert around([1], [7] * 600, [2, 3], 4096) == ([1], [])


@pytest.mark.parametrize(
    ("limit", "used", "answer", "left"),
    [
        (8192, 1000, 1, 6146),  # as llama-server with its default batch
        (8192, 2050, 100, 6042),  # less, or prompt and answer would not fit
        (512, 100, 1, 258),
        (512, 511, 1, 0),
        (512, 600, 1, 0),
    ],
)
def test_files_take_what_is_left(limit: int, used: int, answer: int, left: int) -> None:
    extra = list(range(10000))
    assert fitting(extra, used, answer, limit) == extra[10000 - left :]


@given(IDS, IDS, IDS, IDS, st.integers(16, 400), st.integers(1, 400))
def test_a_prompt_that_is_cut_leaves_room_for_its_answer(
    extra: list[int], prefix: list[int], begun: list[int], suffix: list[int], limit: int, most: int
) -> None:
    before, after = around(prefix, begun, suffix, limit)
    assert prefix[len(prefix) - len(before) :] == before
    assert suffix[: len(after)] == after
    rest = gap(WHOLE, [BOS], before, begun, after)
    kept = fitting(extra, len(rest), most, limit)
    assert extra[len(extra) - len(kept) :] == kept
    assert not kept or len(kept) + len(rest) + most <= limit
