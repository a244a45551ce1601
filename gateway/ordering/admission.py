"""Admission: bounds on the queue, and when to come back.

Only jobs that were never started count here. A parked or failed-over job was accepted and has
cost compute: it is served, whatever the bounds say. Pure: the clock is an argument.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.core.clock import NANO

T = TypeVar("T")

RETRY_MIN_S, RETRY_MAX_S = 1, 300


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on what may wait at once."""

    requests: int
    size: int
    """Bytes of their prompts together."""


class Admission(Generic[T]):
    """Counts the requests that wait for a first start."""

    def __init__(self) -> None:
        self._sizes: dict[T, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, item: T) -> bool:
        return item in self._sizes

    @property
    def size(self) -> int:
        """Bytes of all waiting prompts."""
        return self._total

    def enter(self, item: T, size: int) -> None:
        """``item`` waits now."""
        self._sizes[item] = size
        self._total += size

    def leave(self, item: T) -> bool:
        """``item`` was started, or gave up; whether it was still counted here."""
        size = self._sizes.pop(item, None)
        self._total -= size or 0
        return size is not None


class ServiceRate:
    """The rate of jobs that get a worker per second, from the last ones that did."""

    def __init__(self, window: int = 256) -> None:
        """``window``: several times the slots, which may all be given at one instant."""
        self._starts: deque[int] = deque(maxlen=window)
        """Times at which they did, on a clock that stands still while there is no work."""
        self._idle_ns = 0
        """All such time so far."""
        self._idle_since_ns: int | None = None

    def mark(self, now_ns: int) -> None:
        """A waiting job was given to a worker."""
        self._starts.append(now_ns - self._idle_ns)

    def pause(self, now_ns: int) -> None:
        """There is no work: such time says nothing about the rate."""
        self._idle_since_ns = now_ns

    def resume(self, now_ns: int) -> None:
        """There is work again."""
        if self._idle_since_ns is not None:
            self._idle_ns += now_ns - self._idle_since_ns
            self._idle_since_ns = None

    def wait_s(self, ahead: int, now_ns: int) -> float | None:
        """Seconds until a job with ``ahead`` others before it starts; None before any start.

        The interval still running counts too: when nothing starts any more, the estimate grows.
        """
        if not self._starts:
            return None
        until = now_ns if self._idle_since_ns is None else self._idle_since_ns
        seconds = (until - self._idle_ns - self._starts[0]) / NANO
        return (ahead + 1) * seconds / len(self._starts)

    def retry_after(self, ahead: int, now_ns: int) -> int:
        """Whole seconds for a Retry-After header."""
        wait = self.wait_s(ahead, now_ns)
        return min(RETRY_MAX_S, max(RETRY_MIN_S, math.ceil(wait or 0)))
