"""One vector for an input, from the vectors of its tokens. Pure.

A long input is computed in several steps; of each only what is kept here remains at the end.
"""

from enum import Enum, auto

import numpy as np

Rows = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""Vectors of tokens, one in each row."""


class Pooling(Enum):
    """The tokens that represent an input."""

    MEAN = auto()
    CLS = auto()
    """The first one."""
    LAST = auto()

    def wanted(self, first: int, count: int, known: int) -> range:
        """Return the offsets needed of ``count`` tokens from position ``first`` on.

        The input has ``known`` tokens in all.
        """
        if self is Pooling.MEAN:
            return range(count)
        at = (0 if self is Pooling.CLS else known - 1) - first
        return range(at, at + 1) if 0 <= at < count else range(0)


class Pooled:
    """The sum of an input's vectors: its direction is the mean's, and the length will be 1."""

    def __init__(self) -> None:
        self._sum: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None = None

    def add(self, rows: Rows) -> None:
        """Add the vectors of some tokens."""
        total = rows.sum(axis=0, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total

    def vector(self, dimensions: int | None) -> bytes | None:
        """Return the first ``dimensions`` components (None: all), scaled to length 1.

        They are little-endian float32; None if the model gave no numbers.
        """
        assert self._sum is not None
        part = self._sum[:dimensions]
        length = np.linalg.norm(part)
        if not np.isfinite(length):
            return None
        return (part / (length or 1.0)).astype("<f4").tobytes()
