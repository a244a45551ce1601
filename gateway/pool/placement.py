"""Which worker takes the next job. Pure."""

from collections.abc import Collection, Mapping


def choose(
    free: Mapping[int, int], home: int | None = None, near: Collection[int] = ()
) -> int | None:
    """The worker with the most free credits (the lowest id among equals); None if all are full.

    ``home`` has the job's cells already: it comes first if it has a credit. Those that are
    ``near`` have its prompt's: they come next.
    """
    if home is not None and free.get(home, 0) > 0:
        return home
    open_ = [worker for worker, credits in free.items() if credits > 0]
    return max(open_, key=lambda w: (w in near, free[w], -w), default=None)
