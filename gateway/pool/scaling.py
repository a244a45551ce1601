"""The number of workers that a pool should have, told from what waits. Pure.

It grows by one while requests wait for longer than GROW_S, or more of them wait than a worker takes
at once, and no worker is on its way already: one that starts shows only later what it is worth.
It shrinks by one after IDLE_S in which one worker less would have had a free slot for all.

An example: two workers of 8 slots, at most four. 20 requests run or wait, so 4 wait; for 2 s they
have waited, and a third worker is started. It is ready after 5 s and takes the 4. Later 12 run:
two workers would do, and after 60 s of that an idle one of the three is ended; with none idle the
next request that ends makes one so, since new ones go to others meanwhile.
"""

import math
from typing import NamedTuple

GROW_S = 2.0
"""Seconds that the oldest request may wait before a worker is added."""
IDLE_S = 60.0
"""Seconds with too many workers before one is ended."""


class Demand(NamedTuple):
    """The sequences that wait for a pool."""

    waiting: int
    """Sequences in the queue that are not spare."""
    oldest_s: float
    """Seconds that the oldest of them has waited."""


class PoolLoad(NamedTuple):
    """The state of a pool."""

    workers: int
    starting: int
    """The workers among them that are not ready."""
    slots: int
    """Of each."""
    busy: int
    """Slots in use."""


class Scaler:
    """Decides once for each tick."""

    def __init__(self, least: int, most: int, tick_s: float) -> None:
        self._least, self._most = least, most
        self._idle_limit = math.ceil(IDLE_S / tick_s)
        self._idle = 0
        """Ticks in which there was one worker too many."""

    def decide(self, demand: Demand, load: PoolLoad) -> int:
        """Return 1 for a worker more, -1 for one less, 0 to leave it."""
        if self._wants_more(demand, load):
            self._idle = 0
            return 1
        spare = load.slots * (load.workers - load.starting - 1) - load.busy
        too_many = load.workers > self._least and not demand.waiting and spare > 0
        self._idle = self._idle + 1 if too_many else 0
        if self._idle < self._idle_limit:
            return 0
        self._idle = 0
        return -1

    def _wants_more(self, demand: Demand, load: PoolLoad) -> bool:
        if load.workers >= self._most or load.starting:
            return False
        return demand.oldest_s >= GROW_S or demand.waiting > load.slots
