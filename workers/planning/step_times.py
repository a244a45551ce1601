"""The costs of a step's parts, learned from the last steps. Pure.

llama.cpp computes a batch in passes over the weights: the streams and the first token of each
prompt beside them in one, and the rest of those prompts in another for each length. So a step takes
``base * passes + decode * streams + token * prompt tokens + read * what these attend to``, in
milliseconds. A prompt's later tokens attend to more cells, and cost up to twice as much.

An example: 1B Q4_K_M with mapped weights on two cores has 75 ms for a pass and 5.2 for a token of a
prompt. Two prompts of 61 tokens took 700 ms together, in one pass, and 880 with 22 of a third one,
in two.
"""

import math
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

MEMORY = 64
"""Steps that are remembered."""
REFIT = 8
"""Steps between two fits, each of which costs as much as a small model's token."""
STIFFNESS = 0.01
"""Weight of the last fit where the steps say nothing, for all were alike."""
DEPTHS = 64
"""The cost of attention is believed as far as the depths of prompts differ by more than so many
tokens. Short prompts don't tell it from what their tokens cost."""


class Costs(NamedTuple):
    """Milliseconds that a step takes, of each of its parts."""

    base: float = 0.0
    """For each pass over the weights."""
    decode: float = 0.0
    """For each stream."""
    token: float = 0.0
    """For each token of a prompt."""
    read: float = 0.0
    """For each cell that a token of a prompt attends to."""

    def step(self, streams: int, prompt: int, reads: float, passes: int = 0) -> float:
        """Return what a step takes whose ``prompt`` tokens attend to ``reads`` cells."""
        parts = (passes or _passes(streams, prompt), streams, prompt, reads)
        return sum(cost * part for cost, part in zip(self, parts, strict=True))

    def alone(self, streams: int) -> float:
        """Return what a step of streams takes."""
        return self.base + self.decode * streams

    def prompt(self, tokens: float, depth: int) -> float:
        """Return what ``tokens`` of a prompt take of which ``depth`` are computed already."""
        return tokens * (self.token + self.read * (depth + tokens / 2))

    def tokens(self, ms: float, depth: int) -> float:
        """Return how many tokens of such a prompt take ``ms``: the inverse of :meth:`prompt`."""
        if ms <= 0:
            return 0.0
        first = self.token + self.read * depth
        divisor = first + math.sqrt(first * first + 2 * self.read * ms)
        return 2 * ms / divisor if divisor else math.inf


class StepTimes:
    """The costs of a step's parts.

    A least-squares fit to the last steps, whose errors count relative to their lengths, because a
    step of 512 tokens may take a hundred times longer than one of a single token.
    """

    def __init__(self) -> None:
        self._steps: deque[tuple[float, ...]] = deque(maxlen=MEMORY)
        """The parts of each step, by its duration: the costs of such a row sum up to 1."""
        self._costs = np.zeros(len(Costs._fields))
        self._unfitted = 0
        """Steps that the costs do not know of."""

    @property
    def known(self) -> bool:
        """Return whether there was any step."""
        return bool(self._steps)

    def add(
        self, decodes: int, prefill: int, ms: float, reads: float = 0.0, passes: int = 0
    ) -> None:
        """A step of so many streams and prompt tokens, which attend to ``reads`` cells."""
        parts = (passes or _passes(decodes, prefill), decodes, prefill, reads)
        self._steps.append(tuple(part / ms for part in parts))
        self._unfitted += 1

    def fit(self) -> Costs:
        """Return the costs, fitted anew if there are steps enough that they do not know of."""
        if self._unfitted >= min(REFIT, len(self._steps)) > 0:
            self._unfitted = 0
            rows = np.array(self._steps)
            moments = rows.T @ rows
            stiff = STIFFNESS * moments.diagonal() + 1e-12
            wanted = rows.sum(axis=0) + stiff * self._costs
            stiff[-1] += DEPTHS**2 * moments[-2, -2]
            self._costs = _non_negative(moments + np.diag(stiff), wanted)
        return Costs(*map(float, self._costs))


def _passes(decodes: int, prefill: int) -> int:
    """The passes of streams and of one prompt."""
    return (decodes > 0) + (prefill > 0) or 1


def _non_negative(moments: Vector, wanted: Vector) -> Vector:
    """Solve least squares by their moments without what would be less than nothing.

    Cut off at zero instead, it would leave its share to the others.
    """
    found, free = np.zeros(len(wanted)), np.arange(len(wanted))
    while len(free):
        solved = np.linalg.solve(moments[np.ix_(free, free)], wanted[free])
        if solved.min() >= 0:
            found[free] = solved
            break
        free = np.delete(free, solved.argmin())
    return found
