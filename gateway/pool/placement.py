"""Which worker takes the next job. Pure."""

from collections.abc import Mapping


def choose(free: Mapping[int, int], home: int | None = None) -> int | None:
    """The worker with the most free credits (the lowest id among equals); None if all are full.

    ``home`` has the job's cells already: it comes first if it has a credit.
    """
    if home is not None and free.get(home, 0) > 0:
        return home
    best = max(free, key=lambda worker: (free[worker], -worker), default=None)
    return best if best is not None and free[best] > 0 else None
