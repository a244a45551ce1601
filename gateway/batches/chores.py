"""Work of minutes on batches, beside the runner: one of a kind at a time."""

import asyncio
from collections.abc import Callable, Coroutine


class Chores:
    """The tasks. Lifetimes: each ends by itself, or by :meth:`stop`."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def busy(self, kind: str) -> bool:
        """Return whether work of a kind goes on."""
        return kind in self._tasks

    def begin(self, kind: str, work: Coroutine[None, None, None]) -> None:
        """Begin work that raises nothing; none of its kind goes on."""
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
