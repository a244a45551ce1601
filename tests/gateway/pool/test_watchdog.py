"""The time after which a worker is taken for dead."""

from gateway.pool.watchdog import ANSWER_S, START_S, Watchdog

BUSY, IDLE = True, False


def speaking(tick_s: float, silence_s: float, step_s: float) -> Watchdog:
    """One whose worker has begun to speak."""
    watchdog = Watchdog(tick_s, silence_s, step_s)
    watchdog.beat()
    return watchdog


def ticks(watchdog: Watchdog, busy: bool, most: int = 1000) -> int:
    """Return the number of ticks before it bites; ``most`` if it does not."""
    return next((n for n in range(most) if watchdog.tick(busy) is not None), most)


def test_silence() -> None:
    """The tick after the last one allowed, so that a whole silence has passed."""
    for busy in (BUSY, IDLE):
        assert ticks(speaking(1, 5, 100), busy) == 5
    assert ticks(speaking(0.2, 1, 100), IDLE) == 5
    assert ticks(speaking(1, 0.5, 100), IDLE) == 1


def test_a_start_may_take_longer() -> None:
    assert ticks(Watchdog(1, 5, 100), IDLE) == START_S
    assert ticks(Watchdog(1, 30, 100), IDLE) == 30


def test_a_beat_breaks_silence_but_is_no_progress() -> None:
    watchdog = Watchdog(1, 2, 10)
    for _ in range(10):
        assert watchdog.tick(BUSY) is None
        watchdog.beat()
    assert watchdog.tick(BUSY) == "it has not ended a step for too long"


def test_a_step_is_progress() -> None:
    watchdog = Watchdog(1, 20, 10)
    for _ in range(10):
        assert watchdog.tick(BUSY) is None
    watchdog.step()
    assert ticks(watchdog, BUSY) == 10


def test_idle_time_is_not_stuck_time() -> None:
    watchdog = Watchdog(1, 2, 3)
    for _ in range(100):
        assert watchdog.tick(IDLE) is None
        watchdog.beat()
    for _ in range(3):
        assert watchdog.tick(BUSY) is None
        watchdog.beat()
    assert watchdog.tick(BUSY) is not None


def asked(watchdog: Watchdog) -> int:
    """Return the ticks before it bites while the worker lives, works, and owes an answer."""
    for count in range(10_000):
        if watchdog.tick(BUSY, asked=True) is not None:
            return count
        watchdog.beat()
        watchdog.step()
    return -1


def test_a_question_must_be_answered() -> None:
    watchdog = Watchdog(1, 5, 5)
    assert asked(watchdog) == ANSWER_S
    watchdog.answer()
    assert asked(watchdog) == ANSWER_S, "an answer is progress"
    assert watchdog.tick(BUSY, asked=True) == "it has not answered a question for too long"
    assert watchdog.tick(IDLE, asked=False) is None, "nobody waits any more"


def test_it_bites_until_it_is_obeyed() -> None:
    watchdog = speaking(1, 1, 1)
    ticks(watchdog, IDLE)
    assert watchdog.tick(IDLE) == "it has been silent for too long"
