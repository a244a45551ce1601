"""The ways in which a context's cells can be divided among sequences, and the choice of one. Pure.

With *streams* each sequence has cells of its own: its attention walks over these alone, so a step
costs what its own sequences are long. In a *unified* cache all take from the same cells, and each
walks over those of all. Streams are faster, but none can be longer than its part.

An example: 8 slots and 32,768 cells. As long as no sequence needs more than 4,096 there are 8
streams. One of 10,000 comes while two of 300 run: 2 streams of 16,384 would hold two of the three,
4 streams of 8,192 not the long one, and a unified cache holds all three, so it is chosen. One of
10,000 alone gets 2 streams.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

CELLS = 256
"""llama.cpp rounds the cells of a stream up to a multiple of this."""
EXCESS = 1.25
"""Rounding may make streams take so many times the cells that were asked for, not more."""

Unified = Literal["auto", "on", "off"]


class Geometry(NamedTuple):
    """A division of cells."""

    sequences: int
    """The most that can hold cells at once."""
    cells: int
    """Of each sequence, or of all together."""
    unified: bool

    @property
    def total(self) -> int:
        """Return the cells of the context."""
        return self.cells if self.unified else self.sequences * self.cells

    def holds(self, needs: Sequence[int]) -> int:
        """Return how many of the first sequences, which need so many cells each, fit at once."""
        if self.unified:
            fitting = sum(total <= self.cells for total in accumulate(needs))
        else:
            fitting = next((i for i, need in enumerate(needs) if need > self.cells), len(needs))
        return min(fitting, self.sequences)


class Geometries:
    """The divisions that one context can have."""

    def __init__(self, slots: int, n_ctx: int, unified: Unified = "auto") -> None:
        """``n_ctx``: cells in all, which one sequence may use alone."""
        whole = padded(n_ctx)
        self.longest = whole
        """Tokens of the longest sequence."""
        self._unified = Geometry(slots, whole, unified=True) if unified != "off" else None
        numbers = [] if unified == "on" else _halves(slots)
        streams = [Geometry(number, padded(-(-n_ctx // number)), False) for number in numbers]
        self._streams = [g for g in streams if g.total <= EXCESS * whole]
        """Geometries with streams, those with the most first; the last has one, of all cells."""
        self.base = self.choose([1] * slots)
        """The one to begin with."""

    def choose(self, needs: Sequence[int]) -> Geometry:
        """Return the best for sequences that need so many cells, the first ones first.

        It holds the longest. Streams are chosen if they hold as many at once as a unified cache.
        """
        longest = min(max(needs, default=0), self.longest)
        streams = next((g for g in self._streams if g.cells >= longest), None)
        if streams is None or (
            self._unified is not None and self._unified.holds(needs) > streams.holds(needs)
        ):
            assert self._unified is not None
            return self._unified
        return streams


def padded(cells: int) -> int:
    """Return the cells that llama.cpp takes for so many."""
    return -(-cells // CELLS) * CELLS


def _halves(number: int) -> list[int]:
    """``number``, half of it, and so on down to 1."""
    return [number] if number == 1 else [number, *_halves(number // 2)]
