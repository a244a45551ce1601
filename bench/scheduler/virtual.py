"""An event loop whose time is virtual: when nothing is left to do now, it jumps to the next timer.

The dispatcher runs in it unchanged, its own timers included, and an hour of traffic takes seconds.
Nothing waits for the real clock, so a run gives the same result on every machine.
"""

import asyncio
import selectors

from gateway.core.clock import NANO


class _Jump(selectors.SelectSelector):
    """A selector that sets the time to the next timer's, where asyncio would sleep until then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        """Seconds since the loop began."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits and no timer is set: nothing will ever happen")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """For ``asyncio.Runner(loop_factory=VirtualLoop)``; there is no I/O in it.

    Timers of one instant all run before the tasks that they wake: what ends or arrives at the same
    time is seen together by whoever decides what comes next.
    """

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def now_ns() -> int:
    """The running loop's time; floats of seconds keep nanoseconds apart for 52 days."""
    return round(asyncio.get_running_loop().time() * NANO)


def at_ns(when_ns: int) -> float:
    """For ``call_at``: equal instants in ns are equal floats."""
    return when_ns / NANO
