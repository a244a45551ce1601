"""Items by rank, where ranks change and items go at any time: a heap with lazy deletion.

The queue asks "which is first?" by several orders at once: the worst that waits, the most urgent,
the owner whose turn it is. Each of them is one of these. Pure.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_SWEEP_AT = 64
"""Below this many dead entries a sweep is not worth its O(n)."""


class Ranked(Generic[T]):
    """The item of smallest rank on top; ties go to the one ranked first. Items are hashable."""

    def __init__(self) -> None:
        self._heap: list[tuple[Any, int, T]] = []
        self._stamps: dict[T, int] = {}
        """The entry of the heap that counts for each item; all others are dead."""
        self._next_stamp = count()

    def __len__(self) -> int:
        return len(self._stamps)

    def __contains__(self, item: T) -> bool:
        return item in self._stamps

    def __iter__(self) -> Iterator[T]:
        return iter(self._stamps)

    def set(self, item: T, rank: Any) -> None:
        """Rank an item, or rank it anew; O(log n), swept when the dead outnumber the living."""
        stamp = next(self._next_stamp)
        self._stamps[item] = stamp
        heapq.heappush(self._heap, (rank, stamp, item))
        self._sweep()

    def discard(self, item: T) -> None:
        """Forget an item; amortised O(1). Does nothing if it is not here."""
        self._stamps.pop(item, None)
        self._sweep()

    def _sweep(self) -> None:
        if not self._stamps:
            self._heap.clear()
        elif len(self._heap) > 2 * len(self._stamps) + _SWEEP_AT:
            self._heap = [e for e in self._heap if self._stamps.get(e[2]) == e[1]]
            heapq.heapify(self._heap)

    def first(self) -> T | None:
        """The item of smallest rank, which stays; amortised O(log n)."""
        while self._heap:
            _, stamp, item = self._heap[0]
            if self._stamps.get(item) == stamp:
                return item
            heapq.heappop(self._heap)
        return None

    def in_order(self) -> list[T]:
        """All items; they stay. O(n log n)."""
        return [e[2] for e in sorted(self._heap) if self._stamps.get(e[2]) == e[1]]

    def up_to(self, rank: Any) -> list[T]:
        """The items ranked ``rank`` or less, in order; they stay. O(n log n)."""
        return [e[2] for e in sorted(self._heap) if self._stamps.get(e[2]) == e[1] and e[0] <= rank]

    def first_rank(self) -> Any:
        """The rank of :meth:`first`. Raises IndexError when there is nothing."""
        self.first()
        return self._heap[0][0]
