"""Work of minutes on batches, beside the runner: one of a kind at a time.

Owners take turns, or one with sixty large files would keep those of all others waiting for an hour.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from gateway.batches.record import BatchRecord


class Chores:
    """The tasks. Lifetimes: each ends by itself, or by :meth:`stop`."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, int] = {}
        """Owners with open batches, and the number of the last work for each."""
        self._last = 0

    def in_turn(self, batches: Sequence[BatchRecord]) -> list[BatchRecord]:
        """Return batches, those of the owner first that has waited longest for work."""
        owners = {batch.owner for batch in batches}
        self._turns = {owner: turn for owner, turn in self._turns.items() if owner in owners}
        return sorted(batches, key=lambda batch: self._turns.get(batch.owner, 0))

    def busy(self, kind: str) -> bool:
        """Return whether work of a kind goes on."""
        return kind in self._tasks

    def begin(self, kind: str, owner: str, work: Coroutine[None, None, None]) -> None:
        """Begin work for an owner that raises nothing; none of its kind goes on."""
        self._last += 1
        self._turns[owner] = self._last
        task = asyncio.create_task(work)
        self._tasks[kind] = task
        task.add_done_callback(lambda _: self._ended(kind))

    async def stop(self) -> None:
        """End all, and wait for the ends."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, kind: str) -> None:
        del self._tasks[kind]
        self._on_end()
