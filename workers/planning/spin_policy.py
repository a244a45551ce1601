"""The choice between spinning and sleeping for threads that wait for each other: pure.

A thread that waits for another awake (it spins) goes on at once; one that sleeps must be woken, and
on virtual cores that costs as much as the wait. But where another program has the core of the
thread that is waited for, spinning takes away the time which that one needs.

So what counts is how much of the time that the threads want on cores they spend waiting for one.
Beside one other busy program on two cores this is a third; alone it is a hundredth.
"""

CROWDED = 0.15
"""Share, of the time that threads want on cores, in which they wait for one: above it spinning
harms."""
CALM = 0.08
"""Share below which other programs leave them the cores."""
SMOOTH = 0.5
"""Seconds over which shares are averaged: a core is taken for a moment now and then."""
IDLE = 0.1
"""Seconds on cores in a second below which a look says nothing."""
FIRST, SHORTEST, LONGEST = 0.2, 1.0, 64.0
"""Seconds of calm after which threads spin: at first, so that the first requests do not pay for the
doubt, and later, doubled each time that this was too early."""
EARLY = 30.0
"""Spinning that had to end within so many seconds was begun too early."""


class SpinPolicy:
    """Decide between long and short spins from what threads ran and waited."""

    def __init__(self) -> None:
        self.spins_long = False
        """True if threads may spin long. At first not: a busy machine must not wait for a look."""
        self._share: float | None = None
        """Smoothed; None before the first look."""
        self._needed = FIRST
        self._calm = 0.0
        """Seconds of calm so far, or of spinning."""

    def look(self, seconds: float, ran: float, waited: float) -> bool:
        """Take what all threads ran on cores and waited for cores in so many seconds.

        Returns ``spins_long``, as it is from now on.
        """
        if ran + waited < IDLE * seconds:
            return self.spins_long
        share = waited / (ran + waited)
        before = share if self._share is None else self._share
        self._share = before + (share - before) * min(1.0, seconds / SMOOTH)
        if self.spins_long:
            self._spinning(seconds, self._share)
        else:
            self._sleeping(seconds, self._share)
        return self.spins_long

    def _spinning(self, seconds: float, share: float) -> None:
        self._calm += seconds
        if share > CROWDED:
            needed = min(2 * self._needed, LONGEST) if self._calm < EARLY else SHORTEST
            self._needed = max(SHORTEST, needed)
            self.spins_long, self._calm = False, 0.0

    def _sleeping(self, seconds: float, share: float) -> None:
        self._calm = self._calm + seconds if share < CALM else 0.0
        if self._calm >= self._needed:
            self.spins_long, self._calm = True, 0.0
