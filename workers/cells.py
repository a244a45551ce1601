"""A ledger of KV cells, because llama.cpp has no call that counts them. Pure.

In the unified cache a cell may belong to several sequences (a shared prefix). The ledger mirrors
the four things the engine does to the cache, so that it knows how many cells are free before it
asks for more, and can check that nothing leaked.
"""


class BooksDiffer(AssertionError):
    """Cells were leaked, or are claimed by somebody who has none: a bug."""


class CellLedger:
    """Who holds which cells. Cells are numbered by the ledger, not by llama.cpp."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._held: dict[int, list[int]] = {}
        self._refs: dict[int, int] = {}
        self._next = 0

    @property
    def used(self) -> int:
        """Cells that at least one sequence holds."""
        return len(self._refs)

    @property
    def free(self) -> int:
        return self.capacity - self.used

    def length(self, sequence: int) -> int:
        """Cells that ``sequence`` holds, shared ones included."""
        return len(self._held.get(sequence, ()))

    def extend(self, sequence: int, count: int) -> None:
        """``sequence`` computed ``count`` new tokens. Raises ValueError if they can't fit."""
        if count > self.free:
            raise ValueError(f"{count} cells asked, {self.free} free")
        fresh = range(self._next, self._next + count)
        self._next += count
        self._held.setdefault(sequence, []).extend(fresh)
        self._refs.update(dict.fromkeys(fresh, 1))

    def share(self, source: int, target: int, count: int) -> None:
        """``target``, which holds nothing yet, shares the first ``count`` cells of ``source``."""
        if self._held.get(target):
            raise ValueError(f"sequence {target} already holds cells")
        cells = self._held.get(source, [])[:count]
        if len(cells) < count:
            raise ValueError(f"sequence {source} holds {len(cells)} cells, not {count}")
        self._held[target] = cells
        for cell in cells:
            self._refs[cell] += 1

    def drop(self, sequence: int) -> None:
        """``sequence`` gave up all its cells; those nobody shares become free."""
        for cell in self._held.pop(sequence, ()):
            self._refs[cell] -= 1
            if not self._refs[cell]:
                del self._refs[cell]

    def exclusive(self, sequences: set[int]) -> int:
        """Cells that would become free if all of ``sequences`` were dropped."""
        counts: dict[int, int] = {}
        for sequence in sequences:
            for cell in self._held.get(sequence, ()):
                counts[cell] = counts.get(cell, 0) + 1
        return sum(1 for cell, count in counts.items() if count == self._refs[cell])

    def check(self) -> None:
        """Raise :class:`BooksDiffer` if references and holders disagree; for idle moments."""
        counts: dict[int, int] = {}
        for cells in self._held.values():
            for cell in cells:
                counts[cell] = counts.get(cell, 0) + 1
        if counts != self._refs:
            raise BooksDiffer("cell references and holders disagree")
        if self.used > self.capacity:
            raise BooksDiffer(f"{self.used} cells used of {self.capacity}")
