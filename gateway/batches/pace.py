"""The pace of an owner's lines: as TCP's window, by what became of the last ones. Pure.

A refusal (429, 503) halts the owner for as long as the server says, and then one line goes ahead;
each line that is answered allows one more. Without it a key of 60 requests a minute would have a
whole window refused for each line that is answered.

An example with a window of 16: 16 lines are in flight, and the first refusal comes with a
Retry-After of 1. Nothing is fed for a second, then one line, after its answer two, and so on. Each
refusal after which none was answered makes the pause twice as long, up to a minute.
"""

from gateway.batches.answers import FIRST_WAIT_S, MOST_WAIT_S


class LinePace:
    """The pace of one owner's lines for one model."""

    def __init__(self) -> None:
        self._limit: int | None = None
        """None: as many as the window holds."""
        self._until = 0.0
        self._pause = 0.0

    def allowed(self, window: int, now: float) -> int:
        """Return how many lines may be in flight."""
        if now < self._until:
            return 0
        if self._limit is not None and self._limit >= window:
            self._limit = None
        return window if self._limit is None else self._limit

    def resumes(self, now: float) -> float | None:
        """Return the time at which a pause is over; None without one."""
        return self._until if self._until > now else None

    def refused(self, wait_s: float, now: float) -> None:
        """Take a line's refusal. Lines that were in flight with it add nothing to the pause."""
        if now < self._until:
            self._until = max(self._until, now + wait_s)
            return
        self._pause = min(MOST_WAIT_S, max(wait_s, 2 * self._pause, FIRST_WAIT_S))
        self._until = now + self._pause
        self._limit = 1

    def answered(self) -> None:
        """Take a line's answer."""
        self._pause = 0.0
        if self._limit is not None:
            self._limit += 1
