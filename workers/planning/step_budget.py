"""The number of prompt tokens that a step may compute beside the running streams. Pure.

Every running stream waits for all tokens of a step, so a prompt is computed in chunks, and their
size keeps the gap between two tokens of a stream under a target, judged by what the last ones took
(:mod:`workers.planning.step_times`). The target is given, or the largest of these: 50 ms; five
times a step in which the prompts were streams already; a step with a whole tile of a prompt, unless
that takes more than 225 ms; and the time that the prompts need in all, up to 225 ms, or a fifth of
it, up to 1.1 seconds.

An example: a step takes 20 * passes + 5 * streams + 2 * tokens. With 4 streams a step without
prompts takes 40 ms. One prompt waits, so the automatic target is 5 * (20 + 5 * 5) = 225 ms. Of it
90 % may be used: 202.5 - 40 - 20 leaves 142.5 ms, which is 71 tokens, or 65 in whole blocks.
Without streams a step may take a second: 480 tokens. However low a given target is, a step grows by
a quarter for prompts, so that they always get on.

Each class of priorities may have a target of its own. That of the least patient stream holds.
Streams of a class that has time to *rest* sit steps out until all prompts are computed, or the time
is over: a step costs nearly the same for few streams as for many, so tokens are cheapest when all
have begun. Steps are as wide then as without streams. They are not where a prompt of a less patient
class waits, which would wait for all of a step: such a step computes that prompt, however long the
streams' patience allows, and others only as far as the prompt's own class does.

Durations are arguments; this module reads no clock.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from workers.planning.step_times import Costs, StepTimes
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

APART = 8
"""A part of one more prompt takes so many times as long as a pass, if no stream waits for it."""

TILE = 64
"""Tokens of one sequence from which llama.cpp computes attention in tiles, fewer one by one (GGML's
flash attention for CPUs). After 2,000 others a token of a 135M model took 8.0 ms in chunks of 48
and 64 beside streams, 5.5 in chunks of 65, 4.8 in chunks of 128 and 4.5 in chunks of 512."""
DEEP, NEARLY = 1000, 0.6
"""After so many others a whole tile takes no longer than this part of one, token by token: beside
five streams on another machine 65 tokens after 1,000, 2,000 and 4,000 took 0.48, 0.68 and 0.92 s,
48 took 0.5, 0.66 and 1.7. So a step that may have that much of a tile has all of it."""
UNNOTICED_MS = 225.0
"""A step as long as this, at most, for the sake of a tile or of all prompts that wait: gaps of
250 ms are hardly noticed, and a first token is waited for."""
BACKLOG_SHARE = 0.2
"""Part of the time that the prompts need in all which a step may take. Each waits for those before
it, and wide steps lose less to the streams. With a tenth, and 0.6 s at most, six agents waited for
first tokens for 6.7 s in place of 4.1, with gaps of 0.8 s in place of 1.4 and fewer tokens in
all; llama-server made them wait 3.5 s, and paused their streams for 9.6."""
BACKLOG_MS = 1100.0
"""A step as long as this, at most, for the sake of many or long prompts: no longer than one without
streams, for the headroom goes off."""

AUTO_MS = 50.0
"""The least automatic target."""
AUTO_MULTIPLE = 5.0
"""The automatic target: so many times a step without prompts, at least.
So streams have a fifth of the time, and prompts get on however many streams there are."""
HEADROOM = 0.9
"""Steps vary: aim below the target in order to stay under it."""
LEAST_SHARE = 0.25
"""Prompts get on whatever the target is: a step gets this much longer for them at least."""


def _whole(tokens: int, streams: int) -> int:
    """``tokens`` cut to whole blocks, if that leaves half of them.

    llama.cpp computes sequences together that have as many tokens left: beside streams, which have
    one each, the first token of a prompt goes with them, and the rest is computed by itself.
    """
    first = min(streams, 1)
    even = tokens - (tokens - first) % BLOCK
    return even if 2 * even >= tokens and even > first else tokens


class Backlog(NamedTuple):
    """The prompts that a step could go on with."""

    prompts: int
    depth: int = 0
    """Tokens of the first one that are computed already."""
    tokens: int = 0
    """Tokens of them all that were not computed when each began: what they need in all."""


class StepBudget:
    """The most prompt tokens of the next step; learns from each that is over."""

    def __init__(self, batch: int, *patience: Patience, tiles: bool = True) -> None:
        """``batch``: tokens that a step can hold. ``patience``: by rising priority.

        ``tiles``: attention may be computed in tiles, as flash attention is.
        """
        self.batch = batch
        self._tiles = tiles
        self._patience = patience or (Patience(0.0, None),)
        self._times = StepTimes()
        self._knows_prefill = False
        self._rested_ms = 0.0
        """Time since streams sat out the first of the last steps."""

    def learn(
        self, decodes: int, prefill: int, ms: float, reads: float = 0.0, passes: int = 0
    ) -> None:
        """A step of ``decodes`` running streams and ``prefill`` prompt tokens took ``ms`` > 0.

        ``reads``: the cells that those tokens attend to, in all. ``passes``: of llama.cpp; 0: as
        many as streams and one prompt need.
        """
        self._times.add(decodes, prefill, ms, reads, passes)
        self._knows_prefill |= prefill > 0

    def expected_ms(
        self, decodes: int, prefill: int, reads: float = 0.0, passes: int = 0
    ) -> float | None:
        """Return what such a step takes, as far as others tell; None: nothing is known."""
        if not self._times.known or (prefill and not self._knows_prefill):
            return None
        return self._times.fit().step(decodes, prefill, reads, passes)

    def rests(self, urgency: float) -> bool:
        """Return whether streams sit the next step out, if there are prompts.

        ``urgency``: the highest base priority of the streams.
        """
        return self._rested_ms < self._patience[self._class_of(urgency)].rest_ms

    def rested(self, ms: float) -> None:
        """Streams sat out a step of ``ms``; 0: they did not, or there are none."""
        self._rested_ms = self._rested_ms + ms if ms else 0.0

    def prefill(
        self,
        decodes: int,
        backlog: Backlog,
        urgency: float = math.inf,
        eager: Callable[[float], int] = lambda priority: 0,
        *,
        resting: bool = False,
    ) -> int:
        """Tokens of prompts in a step beside ``decodes`` running streams; at least 1.

        In whole blocks, if half of what may be computed is left. ``urgency``: the
        highest base priority of the streams; ``eager`` counts the tokens that prompts lack from a
        priority on. ``resting``: the streams sit the step out.
        """
        at = self._class_of(urgency)
        allowed = self._allowed(0 if resting else decodes, backlog, self._patience[at])
        waiting = [(p, eager(p.priority)) for p in self._patience[at + 1 :]] if decodes else []
        least = [(p, tokens) for p, tokens in waiting if tokens]
        if least:
            beside = self._allowed(decodes, backlog, least[-1][0])
            allowed = min(allowed, max(beside, least[0][1]))
        return _whole(allowed, 0 if resting else decodes)

    def _class_of(self, priority: float) -> int:
        """Return the index of the patience of streams with ``priority``."""
        return max(0, bisect_right([p.priority for p in self._patience], priority) - 1)

    def _allowed(self, decodes: int, backlog: Backlog, patience: Patience) -> int:
        """The tokens that the patience and the batch allow."""
        room = max(1, self.batch - decodes)
        if not self._knows_prefill:
            return min(room, FIRST_CHUNK)
        costs = self._times.fit()
        if decodes:
            spare, least = _spare(costs, decodes, backlog, patience), 1
        else:
            spare, least = LONGEST_MS - costs.base, min(room, WORTHWHILE)
        tokens = costs.tokens(spare, backlog.depth)
        if self._tiles and decodes and patience.target_ms is None and backlog.depth >= DEEP:
            tokens = max(tokens, TILE + 1) if tokens > NEARLY * TILE else tokens
        return max(least, int(min(room, tokens + 1e-6)))

    def least_part(self, decodes: int) -> int:
        """Return the least tokens to begin one more prompt with in a step that has others.

        They are to take as long as the pass that they cost, and much longer without streams, whose
        time a wider step would save.
        """
        costs, times = self._times.fit(), 1 if decodes else APART
        if not costs.token:
            return 1
        return max(1, int(times * min(costs.base / costs.token, 2 * BLOCK)))

    def prompt_s(self, tokens: int, depth: int) -> float:
        """Seconds that ``tokens`` of a prompt cost after ``depth`` others; 0: not known yet."""
        return self._times.fit().prompt(tokens, depth) / 1000 if self._knows_prefill else 0.0


def _spare(costs: Costs, decodes: int, backlog: Backlog, patience: Patience) -> float:
    """Milliseconds that streams may wait for prompts, beside their own tokens."""
    alone = costs.alone(decodes)
    beside = alone + costs.base
    target, tile = patience.target_ms, 0.0
    if target is None:
        together = costs.alone(decodes + backlog.prompts)
        target = max(AUTO_MS, AUTO_MULTIPLE * together, _for_all(costs, backlog))
        tile = costs.prompt(TILE + 1, backlog.depth)
        if beside + tile > UNNOTICED_MS:
            tile = 0.0
    return max(HEADROOM * target - beside, LEAST_SHARE * alone, tile)


def _for_all(costs: Costs, backlog: Backlog) -> float:
    """Milliseconds that a step may take because so many tokens of prompts wait."""
    each = backlog.tokens / max(1, backlog.prompts)
    whole = backlog.prompts * costs.prompt(each, 0)
    return max(min(UNNOTICED_MS, whole), min(BACKLOG_MS, BACKLOG_SHARE * whole))
