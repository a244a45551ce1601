"""Items by rank, where ranks change and items go at any time: a heap with lazy deletion.

The queue asks "which is first?" by several orders at once: the worst that waits, the most urgent,
the owner whose turn it is. Each of them is one of these. As long as its order is not needed, as in
a queue that is empty most of the time, an item costs an entry in a dictionary. Pure.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_SWEEP_AT = 64
"""Below this many dead entries a sweep is not worth its O(n)."""


class IndexedHeap(Generic[T]):
    """The item of smallest rank on top; ties go to the one ranked first. Items are hashable."""

    def __init__(self) -> None:
        self._entries: dict[T, tuple[Any, int, T]] = {}
        """Rank, stamp and item of each item."""
        self._heap: list[tuple[Any, int, T]] = []
        """Entries; those that are not the item's own any more are dead."""
        self._new: list[tuple[Any, int, T]] = []
        """Entries that came since the order was last needed; then they go into the heap."""
        self._next_stamp = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: T) -> bool:
        return item in self._entries

    def __iter__(self) -> Iterator[T]:
        return iter(self._entries)

    def set(self, item: T, rank: Any) -> None:
        """Rank an item, or rank it anew; amortised O(log n)."""
        entry = self._entries[item] = (rank, next(self._next_stamp), item)
        self._new.append(entry)
        self._sweep()

    def discard(self, item: T) -> None:
        """Forget an item; amortised O(1). Does nothing if it is not here."""
        if self._entries.pop(item, None) is not None:
            self._sweep()

    def _sweep(self) -> None:
        """Drop dead entries when they outnumber the living: each would keep its item alive."""
        if not self._entries:
            self._heap.clear()
            self._new.clear()
        elif len(self._heap) + len(self._new) > 2 * len(self._entries) + _SWEEP_AT:
            self._heap = [*self._entries.values()]
            self._new.clear()
            heapq.heapify(self._heap)

    def first(self) -> T | None:
        """The item of smallest rank, which stays; amortised O(log n)."""
        for entry in self._new:
            heapq.heappush(self._heap, entry)
        self._new.clear()
        while self._heap:
            item = self._heap[0][2]
            if self._entries.get(item) is self._heap[0]:
                return item
            heapq.heappop(self._heap)
        return None

    def walk(self) -> Iterator[T]:
        """The items from the smallest rank on; they stay. O(log n) each; not while items change."""
        if self.first() is None:
            return
        heap = self._heap
        ahead = [(*heap[0][:2], 0)]
        while ahead:
            at = heapq.heappop(ahead)[2]
            for child in (2 * at + 1, 2 * at + 2):
                if child < len(heap):
                    heapq.heappush(ahead, (*heap[child][:2], child))
            item = heap[at][2]
            if self._entries.get(item) is heap[at]:
                yield item

    def in_order(self) -> list[T]:
        """All items; they stay. O(n log n)."""
        return [item for _, _, item in sorted(self._entries.values())]

    def up_to(self, rank: Any) -> list[T]:
        """The items ranked ``rank`` or less, in order; they stay. O(n log n)."""
        return [item for at, _, item in sorted(self._entries.values()) if at <= rank]

    def first_rank(self) -> Any:
        """The rank of :meth:`first`. Raises IndexError when there is nothing."""
        self.first()
        return self._heap[0][0]
