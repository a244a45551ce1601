"""The lag of the event loop, and the time that it is remembered."""

import asyncio
import contextlib
import time

import pytest

from gateway.telemetry.loop_lag import KEPT, PERIOD_S, LoopLag


def test_lateness_is_what_the_clock_says() -> None:
    now, seen = [10.0], list[float]()
    lag = LoopLag(lambda: now[0], seen.append)
    assert lag.worst_s == 0
    for moment, due in [(10.25, 10.0), (10.5, 10.5), (11.0, 11.001)]:
        now[0] = moment
        lag.look(due)
    assert seen == [0.25, 0.0, 0.0], "a timer that comes early is not late"
    assert lag.worst_s == 0.25


def test_the_worst_is_forgotten_after_a_minute() -> None:
    now = [1.0]
    lag = LoopLag(lambda: now[0], lambda late: None)
    lag.look(0.0)
    for _ in range(KEPT - 1):
        lag.look(1.0)
    assert lag.worst_s == 1.0
    lag.look(1.0)
    assert lag.worst_s == 0.0
    assert pytest.approx(60) == KEPT * PERIOD_S


def test_a_callback_that_runs_for_long_is_seen() -> None:
    seen = list[float]()

    async def script() -> None:
        task = asyncio.create_task(LoopLag(time.monotonic, seen.append).run())
        await asyncio.sleep(0)
        time.sleep(3 * PERIOD_S)  # noqa: ASYNC251  that is the point
        await asyncio.sleep(PERIOD_S)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(script())
    assert seen[0] > PERIOD_S
