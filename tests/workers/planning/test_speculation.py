"""The number of drafts: learned from the times of steps, and never at the cost of others."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.planning.speculation import CREDIT, MOST, Prospect, RowTimes, Speculation

SURE = Prospect(0.97, 1000)
NONE = Prospect(0.0, 1000)
SMALL = {1: 7.3, 2: 14.5, 3: 18.0, 4: 21.0, 6: 28.0, 8: 31.0, 16: 52.0, 32: 100.0, 64: 195.0}
"""Milliseconds of a step of a model of 135M on two cores, by its rows."""
LARGE = {1: 27.0, 2: 49.0, 3: 57.0, 4: 69.0, 6: 95.0, 8: 113.0, 16: 126.0, 32: 184.0, 64: 330.0}
"""Of one of 1B."""


def line(points: dict[int, float]) -> Callable[[int], float]:
    """The time of any number of rows, in a straight line between two points."""

    def of(rows: int) -> float:
        low = max(known for known in points if known <= rows)
        high = min((known for known in points if known >= rows), default=low)
        share = 0.0 if high == low else (rows - low) / (high - low)
        return points[low] + share * (points[high] - points[low])

    return of


def steps(
    made: Speculation,
    streams: list[Prospect],
    machine: Callable[[int], float],
    *,
    count: int = 60,
    accepted: float = 0.97,
) -> list[int]:
    """Make so many steps on a machine, and return the last ones' numbers of drafts."""
    chosen: list[int] = []
    for _ in range(count):
        drafts = made.length(streams, 1000)
        drafting = [stream for stream in streams if stream.rate] if drafts else []
        more = sum(Prospect(accepted, stream.most).expected(drafts) - 1 for stream in drafting)
        ms = machine(len(streams) * (1 + drafts))
        made.learn(len(streams), drafts, round(len(streams) + more), ms)
        chosen.append(drafts)
    return chosen


@pytest.mark.parametrize(
    ("machine", "streams", "wanted"),
    [(SMALL, 1, 15), (SMALL, 4, 3), (LARGE, 1, 31), (LARGE, 4, 3), (LARGE, 8, 1)],
)
def test_copies_are_drafted(machine: dict[int, float], streams: int, wanted: int) -> None:
    """Whole blocks of rows at least, once the machine is known."""
    chosen = steps(Speculation(512), [SURE] * streams, line(machine))
    assert chosen[0] == 0, "nothing is known yet"
    assert chosen[-1] >= wanted


def test_drafts_that_pay_nowhere_are_hardly_tried() -> None:
    """Each row costs as much as a step."""
    chosen = steps(Speculation(512), [SURE], lambda rows: 10.0 * rows, count=200)
    assert sum(map(bool, chosen)) < 10


def test_streams_without_drafts_do_not_pay_for_one_that_has_some() -> None:
    made = Speculation(512)
    steps(made, [SURE] * 4, line(LARGE))
    assert made.length([SURE] * 4, 1000) > 0
    assert made.length([SURE, NONE, NONE, NONE], 1000) == 0
    assert made.length([SURE, SURE, SURE, NONE], 1000) > 0, "all but one"
    assert made.length([NONE] * 4, 1000) == 0


def test_what_is_expected_in_vain_ends() -> None:
    """The rate says copies, and nothing is ever accepted: a hundredth of the time is lost."""
    made, machine = Speculation(512), line(LARGE)
    steps(made, [SURE], machine)  # it has earned all the credit it can
    lost = ms = 0.0
    for _ in range(5000):
        drafts = made.length([SURE], 1000)
        took = machine(1 + drafts)
        made.learn(1, drafts, 1, took)
        lost += took - machine(1)
        ms += took
    assert lost < 0.02 * ms + CREDIT * machine(1)


def test_too_few_rows_or_cells_leave_room_for_less() -> None:
    made = Speculation(16)
    steps(made, [SURE] * 4, line(SMALL))
    assert made.length([SURE] * 4, 1000) in (1, 2, 3)
    assert made.length([SURE] * 4, 1) <= 1
    assert made.length([SURE] * 4, 0) == 0
    assert made.length([SURE] * 4, -1) == 0
    assert Speculation(4).length([SURE] * 8, 1000) == 0


def test_long_steps_are_not_made_longer() -> None:
    """A model whose step takes most of a second: a new request would wait for seconds."""
    chosen = steps(Speculation(512), [SURE], lambda rows: 500.0 + 100.0 * rows)
    assert 0 < max(chosen) <= 4
    assert steps(Speculation(512), [SURE], lambda rows: 2000.0 + rows)[-1] == 0


def test_times_between_known_ones_are_guessed() -> None:
    times = RowTimes()
    assert times.of(1) is None
    times.add(1, 10.0)
    assert times.of(2) == 15.0, "half as much for what was never tried"
    assert times.of(3) is None, "not too much at once"
    times.add(5, 30.0)
    assert times.of(3) == 20.0
    assert not times.known(1)
    for ms in (12.0, 500.0):
        times.add(1, ms)
    assert times.of(1) == 12.0, "the median"
    times.forget()
    assert times.of(1) == 12.0
    times.add(5, 40.0)
    times.forget()
    assert times.of(1) is None
    assert times.of(5) == 30.0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40)), min_size=1, max_size=40),
    st.integers(-5, 40),
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 31), st.floats(0.1, 1e5)), max_size=30),
)
def test_rows_and_room_are_never_exceeded(
    streams: list[tuple[float, int]],
    room: int,
    rows: int,
    history: list[tuple[int, int, float]],
) -> None:
    made = Speculation(rows)
    for count, drafts, ms in history:
        made.learn(count, drafts, count, ms)
    drafts = made.length([Prospect(rate, most) for rate, most in streams], room)
    assert 0 <= drafts <= min(max(room, 0), MOST)
    assert not drafts or len(streams) * (1 + drafts) <= rows
