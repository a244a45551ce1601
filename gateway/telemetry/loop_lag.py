"""The lag of the event loop: all requests and streams wait at least as long."""

import asyncio
from collections import deque
from collections.abc import Callable

PERIOD_S = 0.1
"""Time between two looks. Each costs some microseconds."""
KEPT = 600
"""Looks remembered for :attr:`LoopLag.worst_s`: those of a minute."""


class LoopLag:
    """A timer that recurs for ever, and its delay.

    The loop is late when a callback runs for long, when many are due at once, or when the process
    does not get a core. Timers of the loop are exact to a millisecond.
    """

    def __init__(self, clock_s: Callable[[], float], observe: Callable[[float], None]) -> None:
        """``observe`` is called with the lag of each look, in seconds."""
        self._clock_s = clock_s
        self._observe = observe
        self._recent: deque[float] = deque(maxlen=KEPT)

    @property
    def worst_s(self) -> float:
        """Return the longest lag of the last minute, in seconds."""
        return max(self._recent, default=0.0)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            due = self._clock_s() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            self.look(due)

    def look(self, due: float) -> None:
        """Record the lag of the timer that was due at ``due`` and fires now."""
        late = max(0.0, self._clock_s() - due)
        self._recent.append(late)
        self._observe(late)
