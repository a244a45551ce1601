"""Places of media among a text's tokens: cells, positions and borders. Pure.

A medium is a run of rows. Among the tokens each row is a *pseudo-token*, a negative number derived
from the medium's digest, so that texts with the same media have the same tokens. A run is shared
as a whole or not at all.

Most models give each row the next position. With M-RoPE a picture of w x h rows takes max(w, h)
positions, all rows at the first of them, so from there on a token's position is less than the
number of cells before it.

An example: 10 tokens, a picture of 6 x 8 rows, 5 tokens. It takes 63 cells; the picture's rows are
at position 10, and the token after it, number 58, is at position 18.
"""

from collections.abc import Iterable, Iterator
from hashlib import shake_128
from typing import NamedTuple


class Run(NamedTuple):
    """Rows of a medium: tokens ``start`` to ``end``."""

    start: int
    end: int
    positions: int
    """Positions that they take."""

    @property
    def flat(self) -> bool:
        """Return whether each row is at the next position."""
        return self.positions == self.end - self.start


class Runs:
    """The runs of a text."""

    __slots__ = ("_runs",)

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        """``runs``: in their order."""
        self._runs = tuple(runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def whole(self, count: int) -> int:
        """Return how many of the first ``count`` tokens can be shared: without part of a run."""
        return next((run.start for run in self._runs if run.start < count < run.end), count)

    def position(self, count: int) -> int:
        """Return the position of the token after the first ``count``; of a row, its run's base."""
        position = count
        for run in self._runs:
            if count <= run.start:
                break
            if count >= run.end:
                position -= run.end - run.start - run.positions
            elif not run.flat:
                position -= count - run.start
        return position

    def reach(self, count: int) -> int:
        """Return the position after the largest one among the first ``count`` tokens."""
        for run in self._runs:
            if run.start < count <= run.end and not run.flat:
                return self.position(run.start) + 1
        return self.position(count)


NO_RUNS = Runs()


def pseudo_tokens(key: str, rows: int) -> list[int]:
    """Return the numbers that stand for a medium's rows; ``key``: all that they depend on."""
    drawn = shake_128(key.encode()).digest(4 * rows)
    words = (int.from_bytes(drawn[at : at + 4]) for at in range(0, len(drawn), 4))
    return [-1 - (word >> 1) for word in words]
