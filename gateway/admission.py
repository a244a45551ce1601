"""How much may wait: bounds on the queue, who makes way when it is full, and when to come back.

Only jobs that were never started count here. A parked or failed-over job was accepted and has
cost compute: it is served, whatever the bounds say. Pure: the clock is an argument.
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.aging import NANO, Waiting

T = TypeVar("T")

RETRY_MIN_S, RETRY_MAX_S = 1, 300


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait at once."""

    requests: int
    size: int
    """Bytes of their prompts together."""


class Full(Exception):
    """The newcomer doesn't fit, and nobody less urgent could make way for it."""


class Admission(Generic[T]):
    """Counts who waits, and finds those who must make way for somebody more urgent."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._sizes: dict[Waiting[T], int] = {}
        self._worst: list[tuple[int, int, Waiting[T]]] = []
        """A heap with the entry that would be served last on top; dead entries are skipped."""
        self._total = 0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def size(self) -> int:
        """Bytes of all waiting prompts."""
        return self._total

    def crowded(self, size: int) -> bool:
        """Whether a job of ``size`` can't wait without somebody making way."""
        return len(self._sizes) >= self.bounds.requests or self._total + size > self.bounds.size

    def offer(self, key: int, size: int) -> list[Waiting[T]]:
        """Who must make way so that a job with this heap key and size may wait: often nobody.

        Those who make way would all be served after it. O(log n) for each. Raises :class:`Full`.
        """
        count, total = len(self._sizes) + 1, self._total + size
        victims: list[Waiting[T]] = []
        while count > self.bounds.requests or total > self.bounds.size:
            worst = self._pop_worst()
            if worst is None or worst.key <= key:
                for entry in (worst, *victims):
                    if entry is not None:
                        heapq.heappush(self._worst, (-entry.key, -entry.order, entry))
                raise Full
            victims.append(worst)
            count, total = count - 1, total - self._sizes[worst]
        for entry in victims:
            heapq.heappush(self._worst, (-entry.key, -entry.order, entry))
        return victims

    def enter(self, entry: Waiting[T], size: int) -> None:
        """``entry`` waits now."""
        self._sizes[entry] = size
        self._total += size
        heapq.heappush(self._worst, (-entry.key, -entry.order, entry))

    def leave(self, entry: Waiting[T]) -> None:
        """``entry`` was started, or gave up; a second call does nothing."""
        self._total -= self._sizes.pop(entry, 0)
        if len(self._worst) > 2 * len(self._sizes) + 64:
            self._worst = [item for item in self._worst if item[2] in self._sizes]
            heapq.heapify(self._worst)

    def _pop_worst(self) -> Waiting[T] | None:
        while self._worst:
            entry = heapq.heappop(self._worst)[2]
            if entry in self._sizes:
                return entry
        return None


class ServiceRate:
    """How many jobs per second get a worker, from the last ones that did."""

    def __init__(self, window: int = 64) -> None:
        self._starts: deque[int] = deque(maxlen=window)
        self._idle_since_ns: int | None = None

    def mark(self, now_ns: int) -> None:
        """A waiting job was given to a worker."""
        self._starts.append(now_ns)

    def pause(self, now_ns: int) -> None:
        """There is no work: such time says nothing about the rate."""
        self._idle_since_ns = now_ns

    def resume(self, now_ns: int) -> None:
        """There is work again."""
        if self._idle_since_ns is not None:
            gap, self._idle_since_ns = now_ns - self._idle_since_ns, None
            self._starts = deque((start + gap for start in self._starts), self._starts.maxlen)

    def wait_s(self, ahead: int, now_ns: int) -> float | None:
        """Seconds until a job with ``ahead`` others before it starts; None before any start.

        The interval still running counts too: when nothing starts any more, the estimate grows.
        """
        if not self._starts:
            return None
        seconds = (now_ns - self._starts[0]) / NANO
        return (ahead + 1) * seconds / len(self._starts)

    def retry_after(self, ahead: int, now_ns: int) -> int:
        """Whole seconds for a Retry-After header."""
        wait = self.wait_s(ahead, now_ns)
        return min(RETRY_MAX_S, max(RETRY_MIN_S, math.ceil(wait or 0)))
