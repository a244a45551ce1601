"""One vector for an input, from the vectors of its tokens, or one score for a pair. Pure.

A long input is computed in several steps; of each only what is kept here remains at the end.
"""

import math
from collections.abc import Sequence
from enum import Enum, auto

import numpy as np

Rows = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
"""Vectors of tokens, one in each row."""


class Pooling(Enum):
    """The tokens that represent an input, or its score."""

    MEAN = auto()
    CLS = auto()
    """The first one."""
    LAST = auto()
    RANK = auto()
    """None: with the last one llama.cpp gives a value for each class of the model's head."""

    def wanted(self, first: int, count: int, known: int) -> range:
        """Return the offsets needed of ``count`` tokens from position ``first`` on.

        The input has ``known`` tokens in all.
        """
        if self is Pooling.MEAN:
            return range(count)
        at = (0 if self is Pooling.CLS else known - 1) - first
        return range(at, at + 1) if 0 <= at < count else range(0)


class Scale(Enum):
    """The meaning of a ranking model's values, of which the first one is the score."""

    LOGIT = auto()
    """There is one, of any size."""
    LOGITS = auto()
    """One for each of several classes, of any size."""
    SHARES = auto()
    """One for each class, between 0 and 1: all together make 1."""


def score(values: Sequence[float], scale: Scale, *, normalize: bool | None) -> float | None:
    """Return the score that a model's values mean; None if they are no numbers.

    ``normalize``: between 0 and 1; None: if there is one class.
    """
    if not all(map(math.isfinite, values)):
        return None
    if normalize is None:
        normalize = scale is Scale.LOGIT
    if not normalize or scale is Scale.SHARES:
        return values[0]
    # One class is weighed against nothing, whose logit is 0.
    logits = [*values, 0.0] if scale is Scale.LOGIT else values
    weights = [math.exp(value - max(logits)) for value in logits]
    return weights[0] / sum(weights)


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

    def values(self) -> list[float]:
        """Return what was summed up: the values of a model that ranks."""
        assert self._sum is not None
        return [float(value) for value in self._sum]
