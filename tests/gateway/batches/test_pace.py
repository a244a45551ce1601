from gateway.batches.answers import MOST_WAIT_S
from gateway.batches.pace import LinePace


def test_without_a_refusal_the_window_is_open() -> None:
    pace = LinePace()
    assert pace.allowed(16, 0) == 16
    pace.answered()
    assert pace.allowed(16, 0) == 16


def test_after_a_refusal_lines_come_one_by_one() -> None:
    pace = LinePace()
    for late in range(16):  # all that were in flight
        pace.refused(1.0, 100 + late / 100)
    assert pace.allowed(16, 101.0) == 0
    assert pace.allowed(16, 101.2) == 1
    pace.answered()
    assert pace.allowed(16, 101.2) == 2
    for _ in range(14):
        pace.answered()
    assert pace.allowed(16, 101.2) == 16


def test_pauses_grow_until_a_line_is_answered() -> None:
    pace, now, pauses = LinePace(), 0.0, []
    for _ in range(12):
        pace.refused(0.5, now)
        begun = now
        while not pace.allowed(4, now):
            now += 0.25
        pauses.append(now - begun)
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.5
    assert pauses[-1] == MOST_WAIT_S
    pace.answered()
    pace.refused(0.5, now)
    assert pace.allowed(4, now + 0.5) == 1


def test_the_server_s_word_counts() -> None:
    pace = LinePace()
    pace.refused(30.0, 0)
    assert pace.allowed(4, 29.9) == 0
    assert pace.allowed(4, 30.0) == 1
