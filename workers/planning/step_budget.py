"""The number of prompt tokens that a step may compute beside the running streams. Pure.

Every running stream waits for all tokens of a step, so a prompt is computed in chunks, and their
size keeps the gap between two tokens of a stream under a target. A fit to the last steps says what
one takes: ``base + decode * streams + token * prompt tokens``, in milliseconds. The target is
given, or three times a step in which the prompts were streams already, and 50 ms at least.

An example: the fit says 20 + 5 * streams + 2 * tokens. With 4 streams a step without prompts takes
40 ms. One prompt waits, so the automatic target is 3 * (20 + 5 * 5) = 135 ms. Of it 90 % may be
used: 121.5 - 40 leaves 81.5 ms, which is 40 tokens. With the 4 of the streams that is 44, and whole
blocks of 16 are faster, so the step computes 28 tokens of the prompt. Without streams it may take
a second: 480 tokens. However low the target is, a step grows by a quarter for prompts, so that
they always get on.

Each class of priorities may have a target of its own. That of the least patient stream holds: of
batch streams alone the steps are wide. They are not where a prompt of a less patient class waits,
which would wait for all of a step: such a step computes that prompt, however long the streams'
patience allows, and others only as far as the prompt's own class does.

Durations are arguments; this module reads no clock.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

import numpy as np

from workers.protocol import Patience

FIRST_CHUNK = 64
"""Tokens of prompts in a step as long as nothing is known about this machine and model."""
LONGEST_MS = 1000.0
"""A step without running streams: a new request, or a hang-up, waits until it is over."""
WORTHWHILE = 64
"""But so many tokens are computed together all the same: fewer would cost more each."""

BLOCK = 16
"""Tokens that the fast kernels for matrices compute together; what is left over of a step's goes
through slower ones (ggml_gemm_q4_K_8x8_q8_K: by 4, then one by one). A step of a 1B Q4_K_M model
took 962 ms with 15 tokens, 802 with 16, 1,423 with 24 and 1,460 with 32."""

AUTO_MULTIPLE = 3.0
"""The automatic target: so many times a step without prompts, or the floor of the class."""
HEADROOM = 0.9
"""Steps vary: aim below the target in order to stay under it."""
LEAST_SHARE = 0.25
"""Prompts get on whatever the target is: a step gets this much longer for them at least."""

MEMORY = 64
"""Steps that are remembered."""
REFIT = 8
"""Steps between two fits, each of which costs as much as a small model's token."""
STIFFNESS = 0.01
"""How firmly a fit stays with the last one where the steps say nothing, for all were alike."""


def _whole(tokens: int, beside: int = 0) -> int:
    """``tokens`` and those ``beside`` cut to whole blocks, if that leaves half of ``tokens``."""
    even = tokens - (beside + tokens) % BLOCK
    return even if 2 * even >= tokens else tokens


class StepTimes:
    """The time of a step: a fixed part, one for each decoding sequence, one for each prompt token.

    A least-squares fit to the last steps, whose errors count relative to their lengths, because a
    step of 512 tokens may take a hundred times longer than one of a single token.
    """

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float, float]] = deque(maxlen=MEMORY)
        """The parts of each step, by its duration: the costs of such a row sum up to 1."""
        self._costs = np.zeros(3)
        self._unfitted = 0
        """Steps that the costs do not know of."""

    def add(self, decodes: int, prefill: int, ms: float) -> None:
        """A step of so many decoding sequences and prompt tokens took ``ms``."""
        self._steps.append((1 / ms, decodes / ms, prefill / ms))
        self._unfitted += 1

    def fit(self) -> tuple[float, float, float]:
        """Milliseconds of a step, of each decoding sequence and of each prompt token in it."""
        if self._unfitted >= min(REFIT, len(self._steps)) > 0:
            self._unfitted = 0
            rows = np.array(self._steps)
            moments = rows.T @ rows
            stiff = STIFFNESS * moments.diagonal() + 1e-12
            wanted = rows.sum(axis=0) + stiff * self._costs
            self._costs = np.linalg.solve(moments + np.diag(stiff), wanted).clip(0.0)
        base, decode, prefill = self._costs
        return float(base), float(decode), float(prefill)


class StepBudget:
    """The most prompt tokens of the next step; learns from each that is over."""

    def __init__(self, batch: int, *patience: Patience) -> None:
        """``batch``: tokens that a step can hold. ``patience``: by rising priority."""
        self.batch = batch
        self._patience = patience or (Patience(0.0, None),)
        self._times = StepTimes()
        self._knows_prefill = False

    def learn(self, decodes: int, prefill: int, ms: float) -> None:
        """A step of ``decodes`` running streams and ``prefill`` prompt tokens took ``ms`` > 0."""
        self._times.add(decodes, prefill, ms)
        self._knows_prefill |= prefill > 0

    def prefill(
        self,
        decodes: int,
        prompts: int,
        urgency: float = math.inf,
        eager: Callable[[float], int] = lambda priority: 0,
    ) -> int:
        """Tokens for ``prompts`` in a step beside ``decodes`` running streams; at least 1.

        All together in whole blocks, if half of what may be computed is left. ``urgency``: the
        highest base priority of the streams; ``eager`` counts the tokens that prompts lack from a
        priority on.
        """
        at = self._class_of(urgency)
        allowed = self._allowed(decodes, prompts, self._patience[at])
        waiting = [(p, eager(p.priority)) for p in self._patience[at + 1 :]] if decodes else []
        least = [(p, tokens) for p, tokens in waiting if tokens]
        if least:
            beside = self._allowed(decodes, prompts, least[-1][0])
            allowed = min(allowed, max(beside, least[0][1]))
        return _whole(allowed, decodes)

    def _class_of(self, priority: float) -> int:
        """Return the index of the patience of streams with ``priority``."""
        return max(0, bisect_right([p.priority for p in self._patience], priority) - 1)

    def _allowed(self, decodes: int, prompts: int, patience: Patience) -> int:
        """The tokens that the patience and the batch allow."""
        room = max(1, self.batch - decodes)
        if not self._knows_prefill:
            return min(room, FIRST_CHUNK)
        base, _, token = self._times.fit()
        if decodes:
            spare, least = self._spare(decodes, prompts, patience), 1
        else:
            spare, least = LONGEST_MS - base, min(room, WORTHWHILE)
        return max(least, min(room, int(spare / token) if token else room))

    def _spare(self, decodes: int, prompts: int, patience: Patience) -> float:
        """Milliseconds that the streams may wait for prompts, beside their own tokens."""
        base, decode, _ = self._times.fit()
        alone = base + decode * decodes
        target = patience.target_ms
        if target is None:
            together = base + decode * (decodes + prompts)
            target = max(patience.floor_ms, AUTO_MULTIPLE * together)
        return max(HEADROOM * target - alone, LEAST_SHARE * alone)

    @property
    def token_s(self) -> float:
        """Seconds that a token of a prompt costs; 0 as long as that is not known."""
        return self._times.fit()[2] / 1000 if self._knows_prefill else 0.0
