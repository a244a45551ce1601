"""Answers that end with a line, however their text is cut into tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.output.line_limits import LineLimits


class Clock:
    """Time that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def pushed(limits: LineLimits, pieces: list[str]) -> str:
    return "".join(map(limits.push, pieces))


@pytest.mark.parametrize(
    ("indent", "text", "kept"),
    [
        (4, "return 1\n    x = 2\nz = 3", "return 1\n    x = 2\n"),
        (4, "a\n   b", "a\n   "),
        (4, "a\n    b\n\tc", "a\n    b\n\t"),
        (2, "a\n\t b\n  c", "a\n\t b\n  c"),
        (1, "a\n\nb", "a\n"),
        (4, "x", "x"),
        (4, "a\n  ", "a\n  "),
        (0, "a\nb\n\nc", "a\nb\n\nc"),
    ],
)
def test_a_line_with_fewer_blanks(indent: int, text: str, kept: str) -> None:
    whole = LineLimits(indent, 0, Clock())
    assert whole.push(text) == kept
    assert whole.stopped == (kept != text)
    one_by_one = LineLimits(indent, 0, Clock())
    assert pushed(one_by_one, list(text)) == kept
    assert one_by_one.stopped == (kept != text)


@given(st.text("a \t\n", max_size=40), st.integers(0, 5), st.data())
def test_the_cuts_between_tokens_do_not_matter(text: str, indent: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    one, two = LineLimits(indent, 0, Clock()), LineLimits(indent, 0, Clock())
    assert one.push(text) == pushed(two, [text[:at], text[at:]])
    assert one.stopped == two.stopped


def test_after_some_time_the_next_end_of_a_line_is_the_end() -> None:
    clock = Clock()
    limits = LineLimits(0, 500, clock)
    assert limits.push("a") == "a"
    clock.now = 500
    assert limits.push("b\n") == "b\n"
    assert not limits.stopped
    clock.now = 501
    assert limits.push("c") == "c"
    assert not limits.stopped
    assert limits.push("d\ne") == "d\ne"
    assert limits.stopped
    assert limits.push("f") == ""


def test_time_begins_with_the_first_token() -> None:
    clock = Clock()
    clock.now = 10_000
    limits = LineLimits(0, 500, clock)
    assert limits.push("a\n") == "a\n"
    assert not limits.stopped


def test_the_time_of_another_worker_counts_and_its_lines_do_not_end_the_answer() -> None:
    clock = Clock()
    clock.now = 10_000
    limits = LineLimits(0, 500, clock, spent_ms=450)
    clock.now += 40  # the prompt is computed anew
    assert limits.push("a\n") == "a\n"
    limits.go_on()
    assert limits.push("b\n") == "b\n"
    assert not limits.stopped
    clock.now += 20
    assert limits.push("c\n") == "c\n"
    assert limits.stopped


def test_lines_that_ended_in_time_are_no_end_when_they_come_again() -> None:
    clock = Clock()
    limits = LineLimits(0, 500, clock, spent_ms=9999)
    assert limits.push("a\nb") == "a\nb"
    clock.now += 9999
    assert limits.push("\nc") == "\nc"
    limits.go_on()
    assert not limits.stopped
    assert limits.push("d\n") == "d\n"
    assert limits.stopped
