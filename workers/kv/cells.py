"""A ledger of KV cells, because llama.cpp has no call that counts them. Pure.

In the unified cache a cell may belong to several sequences (a shared prefix). The ledger mirrors
what the engine does to the cache, so that it knows how many cells are free before it asks for
more, and can check that nothing leaked. It knows runs of cells, not single ones: sequences that
share a beginning part like branches of a tree. (The radix tree is another tree: two sequences may
hold the same text in cells of their own.)
"""

from collections.abc import Callable, Iterator
from enum import IntEnum


class LedgerMismatch(AssertionError):
    """Cells were leaked, or are claimed by a sequence that has none: a bug."""


class Claim(IntEnum):
    """A sequence's need of its cells. A shared one counts as its strongest claim."""

    KEPT = 0
    """Not at all: it is a cache."""
    PARKED = 1
    """It can do without, if it must: it computes its tokens again one day."""
    RUNNING = 2


class _Run:
    """Cells that follow those of its parent, and how many sequences hold them, by claim."""

    __slots__ = ("holders", "parent", "size")

    def __init__(self, parent: "_Run | None", size: int, holders: list[int]) -> None:
        self.parent, self.size, self.holders = parent, size, holders

    @property
    def claim(self) -> Claim | None:
        """The strongest; None if no sequence holds it."""
        return next((claim for claim in reversed(Claim) if self.holders[claim]), None)

    @property
    def lineage(self) -> "Iterator[_Run]":
        """Yield it and its ancestors, the first cells last.

        A parent with the same holders is taken in on the way: nothing parts there any more.
        """
        run: _Run | None = self
        while run is not None:
            parent = run.parent
            while parent is not None and sum(parent.holders) == sum(run.holders):
                run.size += parent.size
                run.parent = parent = parent.parent
            yield run
            run = run.parent


class CellLedger:
    """The number of cells that each sequence holds, and which of them it shares with others."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._last: dict[int, _Run] = {}
        """The last run of each sequence that holds cells; the others are its ancestors."""
        self._length: dict[int, int] = {}
        self._claim: dict[int, Claim] = {}
        self._cells = [0] * len(Claim)
        """How many cells there are by their strongest claim."""

    @property
    def free(self) -> int:
        """Cells that no sequence holds."""
        return self.capacity - sum(self._cells)

    def count(self, claim: Claim) -> int:
        """Cells whose strongest claim is this one."""
        return self._cells[claim]

    def length(self, sequence: int) -> int:
        """Cells that ``sequence`` holds, shared ones included."""
        return self._length.get(sequence, 0)

    def extend(self, sequence: int, count: int) -> None:
        """``sequence`` computed ``count`` new tokens. Raises ValueError if they can't fit."""
        if count > self.free:
            raise ValueError(f"{count} cells asked, {self.free} free")
        if not count:
            return
        claim = self._claim.setdefault(sequence, Claim.RUNNING)
        last = self._last.get(sequence)
        if last is None or sum(last.holders) > 1:
            last = self._last[sequence] = _Run(last, 0, [0] * len(Claim))
            last.holders[claim] = 1
        last.size += count
        self._length[sequence] = self.length(sequence) + count
        self._cells[claim] += count

    def share(self, source: int, target: int, count: int) -> None:
        """``target``, which holds nothing yet, shares the first ``count`` cells of ``source``."""
        if self.length(target):
            raise ValueError(f"sequence {target} already holds cells")
        if self.length(source) < count:
            raise ValueError(f"sequence {source} holds {self.length(source)} cells, not {count}")
        if not count:
            return
        end = self.length(source)
        for run in self._last[source].lineage:
            start = end - run.size
            if start < count:
                break
            end = start
        if count < end:
            run.parent = _Run(run.parent, count - start, list(run.holders))
            run.size, run = end - count, run.parent
        self._last[target], self._length[target] = run, count
        self._move(target, None, Claim.RUNNING)

    def claim(self, sequence: int, claim: Claim) -> None:
        """From now on ``sequence`` needs its cells that much."""
        if sequence in self._last:
            self._move(sequence, self._claim[sequence], claim)

    def drop(self, sequence: int) -> None:
        """``sequence`` gave up all its cells; those without another holder become free."""
        if sequence in self._last:
            self._move(sequence, self._claim[sequence], None)

    def _move(self, sequence: int, old: Claim | None, new: Claim | None) -> None:
        """Change the claim of ``sequence`` on all its runs; None: it is a new one, or goes."""
        for run in self._last[sequence].lineage:
            if (before := run.claim) is not None:
                self._cells[before] -= run.size
            if old is not None:
                run.holders[old] -= 1
            if new is not None:
                run.holders[new] += 1
            if (after := run.claim) is not None:
                self._cells[after] += run.size
        if new is not None:
            self._claim[sequence] = new
        else:
            del self._last[sequence], self._length[sequence], self._claim[sequence]

    def running(self, sequence: int) -> int:
        """Return how many of its first cells a running sequence holds."""
        return self._reach(sequence, lambda run: run.holders[Claim.RUNNING] > 0)

    def shared(self, sequence: int) -> int:
        """Return how many of its first cells others hold too."""
        return self._reach(sequence, lambda run: sum(run.holders) > 1)

    def _reach(self, sequence: int, wanted: Callable[[_Run], bool]) -> int:
        """Return the end of the last run of ``sequence`` as wanted; so are all runs before it."""
        end = self.length(sequence)
        for run in self._last[sequence].lineage if end else ():
            if wanted(run):
                return end
            end -= run.size
        return 0

    def check(self) -> None:
        """Raise :class:`LedgerMismatch` if runs and their holders disagree; for idle moments."""
        holders: dict[_Run, list[int]] = {}
        cells = [0] * len(Claim)
        for sequence, last in self._last.items():
            length = 0
            for run in last.lineage:
                holders.setdefault(run, [0] * len(Claim))[self._claim[sequence]] += 1
                length += run.size
            if length != self.length(sequence):
                raise LedgerMismatch(f"sequence {sequence} holds {length} cells, not its length")
        for run, counted in holders.items():
            if counted != run.holders or run.claim is None:
                raise LedgerMismatch("runs of cells and holders disagree")
            cells[run.claim] += run.size
        if cells != self._cells:
            raise LedgerMismatch(f"{self._cells} cells counted, there are {cells}")
        if self.free < 0:
            raise LedgerMismatch(f"{sum(cells)} cells used of {self.capacity}")
