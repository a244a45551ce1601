"""The workers of conversations, as many as are remembered."""

from gateway.pool.sessions import MOST, Sessions


def test_the_last_worker_counts() -> None:
    sessions = Sessions()
    assert sessions.last("a") is None
    for worker in (1, 0, 2):
        sessions.note("a", worker)
        assert sessions.last("a") == worker
    assert sessions.last("b") is None


def test_what_has_no_name_is_not_remembered() -> None:
    sessions = Sessions()
    sessions.note("", 1)
    assert sessions.last("") is None


def test_those_that_were_silent_for_longest_are_forgotten() -> None:
    sessions = Sessions()
    for number in range(MOST):
        sessions.note(str(number), number % 2)
    sessions.note("0", 1)
    sessions.note("one more", 0)
    assert sessions.last("0") == 1
    assert sessions.last("1") is None
    assert sessions.last("2") == sessions.last("one more") == 0
