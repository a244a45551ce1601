"""Points of the charts, from a clock that the test turns."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.clock import NANO
from gateway.dashboard.history import (
    POINTS,
    REMEMBERED,
    WINDOW_S,
    Ended,
    Gaps,
    Recorder,
    bucketed,
    quantile,
    row,
)

BOUNDS = (0.01, 0.1, 1.0)


def request(number: int, ended_s: float, ttft_s: float | None = 0.5, **changes: Any) -> Ended:
    """One that took two seconds."""
    arrived = round((ended_s - 2) * NANO)
    first = None if ttft_s is None else arrived + round(ttft_s * NANO)
    ended = round(ended_s * NANO)
    found = Ended(number, "a1", 1.0, "", "finished", arrived, arrived, first, ended, 7, 3, 5, 20.0)
    return found._replace(**changes)


def point(recorder: Recorder, at_s: float, *tokens: int, gaps: Gaps | None = None) -> Any:
    recorder.point(round(at_s * NANO), 0, dict(enumerate(tokens)), gaps)
    return recorder.points[-1]


def test_a_point_each_second() -> None:
    recorder = Recorder()
    assert recorder.due(0)
    point(recorder, 10.0)
    assert not recorder.due(round(10.9 * NANO))
    assert recorder.due(11 * NANO)


def test_nothing_is_known_of_nothing() -> None:
    found = point(Recorder(), 10.0, 100, gaps=Gaps(BOUNDS, [0, 0, 0, 0]))
    assert found.pop("id") == 10.0
    assert set(found.values()) == {None}


def test_latencies_of_those_who_ended_lately() -> None:
    recorder = Recorder()
    recorder.requests.append(request(1, 10.0, ttft_s=1.9))
    recorder.requests.append(request(2, 40.0, ttft_s=0.1))
    recorder.requests.append(request(3, 41.0, ttft_s=None, outcome="expired"))
    early = point(recorder, 10.0 + WINDOW_S)
    assert (early["ttft_p50"], early["ttft_p99"]) == (1900.0, 1900.0)
    late = point(recorder, 10.5 + WINDOW_S)
    assert (late["ttft_p50"], late["ttft_p99"]) == (100.0, 100.0), "the first is too long ago"
    assert late["total_p99"] == 2000.0, "not that of one that failed"


def test_tokens_per_second() -> None:
    recorder = Recorder()
    assert point(recorder, 1.0, 100, 50)["rate"] is None, "nothing to compare with"
    assert point(recorder, 3.0, 160, 90)["rate"] == 50.0
    assert point(recorder, 4.0, 170, 8)["rate"] == 18.0, "the second worker began again"
    assert point(recorder, 5.0, 170, 8, 500)["rate"] == 0.0, "the third was not there before"
    assert point(recorder, 99.0, 9000, 8, 500)["rate"] is None, "nobody watched in between"


def test_inter_token_latency_of_the_window() -> None:
    recorder = Recorder()
    assert point(recorder, 1.0, gaps=Gaps(BOUNDS, [50, 0, 0, 0]))["itl_p50"] is None
    found = point(recorder, 2.0, gaps=Gaps(BOUNDS, [50, 100, 0, 0]))
    assert (found["itl_p50"], found["itl_p99"]) == (55.0, 99.1)
    later = point(recorder, 1.5 + WINDOW_S, gaps=Gaps(BOUNDS, [60, 100, 0, 0]))
    assert later["itl_p99"] == 9.9, "what came before the window does not count"


def test_no_more_is_remembered_than_shown() -> None:
    recorder = Recorder()
    for number in range(2 * REMEMBERED):
        recorder.requests.append(request(number, 1.0))
    for second in range(2 * POINTS):
        point(recorder, float(second), gaps=Gaps(BOUNDS, [second, 0, 0, 0]))
    assert len(recorder.requests) == REMEMBERED
    assert len(recorder.points) == POINTS
    assert len(recorder._gaps) == WINDOW_S + 1


def test_a_row_of_the_table() -> None:
    ended = request(4, 12.0, rate=None, dispatched_ns=None, model="m")
    shown = row(ended, origin_ns=2 * NANO)
    assert shown == {
        "id": 4,
        "name": "a1",
        "model": "m",
        "class": "normal",
        "priority": 1.0,
        "owner": "",
        "outcome": "finished",
        "ended": 10.0,
        "wait": None,
        "ttft": 0.5,
        "total": 2.0,
        "prompt_tokens": 7,
        "cached_tokens": 3,
        "tokens": 5,
        "rate": None,
    }


@pytest.mark.parametrize(
    ("counts", "q", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([4, 0, 0, 0], 0.5, 0.005),
        ([0, 4, 0, 0], 0.5, 0.055),
        ([2, 2, 0, 0], 0.5, 0.01),
        ([0, 0, 0, 4], 0.5, 1.0),
        ([99, 0, 0, 1], 0.99, 0.01),
    ],
)
def test_quantiles_of_a_histogram(counts: list[int], q: float, expected: float | None) -> None:
    assert bucketed(BOUNDS, counts, q) == pytest.approx(expected)


@given(st.lists(st.integers(0, 1000), min_size=1), st.sampled_from([0.5, 0.99]))
def test_quantiles_are_values(values: list[int], q: float) -> None:
    found = quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) > q * len(values) - 1
    assert quantile([], q) is None
