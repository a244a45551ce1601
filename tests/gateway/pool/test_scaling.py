"""The growth of a pool, and its end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pool.scaling import GROW_S, IDLE_S, Demand, PoolLoad, Scaler

QUIET = Demand(0, 0.0)


@pytest.mark.parametrize(
    ("demand", "load", "expected"),
    [
        (QUIET, PoolLoad(2, 0, 8, 16), 0),
        (Demand(1, GROW_S - 0.1), PoolLoad(2, 0, 8, 16), 0),
        (Demand(1, GROW_S), PoolLoad(2, 0, 8, 16), 1),
        (Demand(8, 0.0), PoolLoad(2, 0, 8, 16), 0),
        (Demand(9, 0.0), PoolLoad(2, 0, 8, 16), 1),
        (Demand(9, 99.0), PoolLoad(2, 1, 8, 8), 0),
        (Demand(9, 99.0), PoolLoad(4, 0, 8, 32), 0),
    ],
)
def test_it_grows_for_what_waits(demand: Demand, load: PoolLoad, expected: int) -> None:
    assert Scaler(1, 4, 1.0).decide(demand, load) == expected


def test_it_shrinks_after_a_while_and_one_at_a_time() -> None:
    scaler, ticks = Scaler(1, 4, 1.0), int(IDLE_S)
    load = PoolLoad(3, 0, 8, 15)
    assert [scaler.decide(QUIET, load) for _ in range(2 * ticks)].count(-1) == 2
    assert all(scaler.decide(QUIET, load) == 0 for _ in range(ticks - 1))
    assert scaler.decide(Demand(1, 0.1), load) == 0, "what waits ends the quiet"
    assert all(scaler.decide(QUIET, load) == 0 for _ in range(ticks - 1))
    assert scaler.decide(QUIET, load) == -1


def test_one_less_would_have_no_slot_left() -> None:
    scaler = Scaler(1, 4, 1.0)
    assert not any(scaler.decide(QUIET, PoolLoad(3, 0, 8, 16)) for _ in range(3 * int(IDLE_S)))


@given(
    st.integers(1, 3),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 30), st.floats(0, 9), st.integers(0, 64)), max_size=300),
)
def test_it_stays_between_its_bounds(
    least: int, more: int, ticks: list[tuple[int, float, int]]
) -> None:
    scaler, workers = Scaler(least, least + more, 10.0), least
    for waiting, oldest_s, busy in ticks:
        load = PoolLoad(workers, 0, 8, min(busy, 8 * workers))
        workers += scaler.decide(Demand(waiting, oldest_s), load)
        assert least <= workers <= least + more
