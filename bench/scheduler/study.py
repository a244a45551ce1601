"""The study project's scheduler, as its author describes it.

Once a second: pop all, age all, push all.

Written anew after the article, with its weaknesses: a job's priority stands still between two
passes, equal priorities come out in whatever order the heap has them, and a pass touches every
waiting job. ``heapq`` takes the same steps as libstdc++'s ``push_heap`` and ``pop_heap`` (sift the
hole down to a leaf, then up again), so that even the ties come out as in the study project's
``std::priority_queue``.
"""

import asyncio
import heapq
from collections.abc import Sequence
from typing import Generic, TypeVar

from gateway.pool import Pool
from workers.protocol import Event, Finished, Generate

T = TypeVar("T")

PERIOD_S = 1.0
RATE = 0.2


class _Entry(float, Generic[T]):
    """A job under its negated priority: heapq has the smallest on top, that project the largest.

    A float, so that comparing two costs what it costs in C: the study project's loop is not to look
    slow because of how it is written here.
    """

    __slots__ = ("job",)
    job: T


class StudyQueue(Generic[T]):
    """The priority queue and its aging pass."""

    def __init__(self, step: float, *, integer: bool = False) -> None:
        """``step``: priority gained per pass.

        ``integer``: as published, ``int currPriority`` and ``currPriority += 0.2``, which the
        assignment truncates, so that nothing ever ages. False: as described.
        """
        self._step = step
        self._integer = integer
        self._heap: list[_Entry[T]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, job: T, priority: float) -> None:
        """The study project's ``enque``."""
        self._push(job, int(priority) if self._integer else priority)

    def pop(self) -> T:
        """The study project's ``deque_locked``."""
        return heapq.heappop(self._heap).job

    def age(self) -> None:
        """One pass of the study project's ``aging_loop``, which holds the queue's lock."""
        aged = [heapq.heappop(self._heap) for _ in range(len(self._heap))]
        for entry in aged:
            priority = -entry + self._step
            self._push(entry.job, int(priority) if self._integer else priority)

    def _push(self, job: T, priority: float) -> None:
        entry: _Entry[T] = _Entry(-priority)
        entry.job = job
        heapq.heappush(self._heap, entry)


class StudyScheduler:
    """The study project's queue in the dispatcher's place: free workers take the top.

    Its pass costs no time here; what it costs is :mod:`bench.scheduler.cost`'s question.
    """

    def __init__(self, pool: Pool, *, integer: bool = False) -> None:
        self._pool = pool
        self._queue: StudyQueue[Generate] = StudyQueue(RATE * PERIOD_S, integer=integer)
        self._wake = asyncio.Event()

    def submit(self, request: Generate) -> None:
        self._queue.push(request, request.priority)
        self._wake.set()

    async def run(self) -> None:
        self._set_timer()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue and self._pool.free():
                self._pool.submit(self._queue.pop())

    def _set_timer(self) -> None:
        asyncio.get_running_loop().call_later(PERIOD_S, self._tick)

    def _tick(self) -> None:
        self._queue.age()
        self._wake.set()
        self._set_timer()

    # gateway.pool.Listener

    def on_event(self, event: Event) -> None:
        assert isinstance(event, Finished), "the study project lets every job run to its end"

    def on_lost(self, ids: Sequence[int]) -> None:
        raise AssertionError("no worker dies here")

    def on_violation(self, what: str) -> None:
        raise AssertionError(what)

    def on_trouble(self, reason: str) -> None:
        raise AssertionError(reason)

    def on_credit(self) -> None:
        self._wake.set()
