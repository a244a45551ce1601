"""The probabilities of the tokens after a batch row. Pure.

A log probability is the model's own: of the logits as it gave them, before any bias, penalty,
temperature or mask.
"""

import math

import numpy as np
from numpy.typing import NDArray

FLOOR = -9999.0
"""The least log probability told, as in OpenAI's API: JSON has no infinity."""
COLUMN = 64
"""Logits of which only the largest is looked at to find out how large the largest of all are."""


class LogprobReader:
    """The softmax of a row of logits."""

    def __init__(self, logits: NDArray[np.float32], top: int, weights: NDArray[np.float32]) -> None:
        """``weights`` is room for as many numbers as there are logits."""
        self._logits = logits
        highest = logits.max()
        with np.errstate(invalid="ignore"):  # of a broken model; all that it says is FLOOR
            np.subtract(logits, highest, out=weights)
        np.exp(weights, out=weights)
        self._norm = float(highest) + math.log(weights.sum(dtype=np.float64))
        self.top = [(token, self.of(token)) for token in likeliest(logits, top)]
        """The likeliest tokens and their log probabilities, best first."""

    def of(self, token: int) -> float:
        """The log probability of ``token``; a mask laid over others meanwhile does not matter."""
        return min(0.0, max(FLOOR, float(self._logits[token]) - self._norm))


def left(logits: NDArray[np.float32], top: int) -> tuple[NDArray[np.float64], list[int]]:
    """Return the log probabilities among candidates that samplers left, and the places of the
    ``top`` likeliest; those without a chance are in no place."""
    shifted = logits.astype(np.float64) - float(logits.max())
    found = shifted - math.log(np.exp(shifted).sum())
    best = np.argsort(-found, kind="stable")[:top]
    return found, [int(at) for at in best if found[at] > FLOOR]


def likeliest(logits: NDArray[np.float32], count: int) -> list[int]:
    """The ``count`` tokens of the largest logits, best first, the smaller id first among equals."""
    if count <= 0:
        return []
    width = len(logits) // COLUMN
    # The maxima belong to different tokens, so at least ``count`` tokens reach the count-th largest
    # of them. One pass instead of the four that a partition of the whole row costs.
    sample = (
        logits[: width * COLUMN].reshape(COLUMN, width).max(axis=0) if width > count else logits
    )
    least = np.partition(sample, -count)[-count] if len(sample) > count else -np.inf
    found = np.flatnonzero(logits >= least)
    best = np.argsort(-logits[found], kind="stable")[:count]
    return [int(token) for token in found[best]]
