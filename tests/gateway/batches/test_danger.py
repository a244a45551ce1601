import pytest

from gateway.batches.danger import in_danger

DAY, HOUR = 86400, 3600


def judge(hours: float, done: int, total: int = 1000, *, before: bool = False) -> bool:
    now = hours * HOUR
    return in_danger(now=now, begun=0, expires=DAY, total=total, done=done, before=before)


def test_the_rate_of_the_lines_tells() -> None:
    assert judge(6, 100)
    assert not judge(6, 251)
    assert judge(6, 249)


def test_nothing_done_is_a_danger_after_a_while() -> None:
    assert not judge(1, 0)
    assert judge(2, 0)


def test_it_is_over_once_half_of_the_time_is_enough() -> None:
    assert judge(6, 300, before=True)
    assert not judge(6, 401, before=True)


@pytest.mark.parametrize("before", [False, True])
def test_in_the_beginning_nothing_changes(before: bool) -> None:
    assert judge(1, 5, before=before) is before


def test_a_batch_that_is_done_or_over_is_in_no_danger() -> None:
    assert not judge(23.9, 1000)
    assert not judge(25, 10)
