"""Which worker takes the next job."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.pool.placement import choose


@given(st.dictionaries(st.integers(0, 100), st.integers(-2, 20)))
def test_most_free_credits_then_lowest_id(free: dict[int, int]) -> None:
    candidates = [worker for worker, credits in free.items() if credits > 0]
    if not candidates:
        assert choose(free) is None
        return
    most = max(free.values())
    assert choose(free) == min(worker for worker in candidates if free[worker] == most)


WORKERS = st.dictionaries(st.integers(0, 9), st.integers(-2, 20))


@given(WORKERS, st.none() | st.integers(0, 12), st.sets(st.integers(0, 12)))
def test_home_comes_first_then_those_near(
    free: dict[int, int], home: int | None, near: set[int]
) -> None:
    """But nobody is held back: who is full, or gone, is no reason not to go elsewhere."""
    open_ = {worker: credits for worker, credits in free.items() if credits > 0}
    close = {worker: credits for worker, credits in open_.items() if worker in near}
    expected = home if home in open_ else choose(close or open_)
    assert choose(free, home, near) == expected


def test_order_of_the_mapping_does_not_matter() -> None:
    assert choose({2: 3, 0: 3, 1: 3}) == choose({0: 3, 1: 3, 2: 3}) == 0
