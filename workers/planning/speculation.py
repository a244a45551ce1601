"""The number of drafted tokens that each running stream verifies in the next step. Pure.

A step of one stream with ``k`` drafts has ``k + 1`` rows and brings up to ``k + 1`` tokens, but it
takes longer than a step of one row, and how much longer differs from machine to machine: two rows
may cost twice as much as one, and sixteen hardly more than eight. So the time of a step is learned
by its rows, and drafts are verified where the tokens expected of them outweigh it.

An example: a step of one row takes 27 ms, of 16 rows 127. The last tokens of the only stream were
as foreseen in 95 of 100 cases, so 15 drafts bring 1 + 0.95 + 0.95**2 + ... = 11.2 tokens, in 4.7
times the time: 2.4 times as fast, and they are verified. At a rate of 0.8 they bring 4.9 tokens,
which is no gain worth the risk: the stream goes on token by token.

All streams of a step verify equally many: llama.cpp cuts a batch whose sequences are of different
lengths into several, each of which reads all weights. Streams without drafts get some that may be
anything, since their rows cost less than a cut. They must not pay for the others: it is the product
of all rates that has to grow, not their sum.

Whatever is expected, an account is kept of what was lost: no more than a hundredth of the time.
"""

from collections import deque
from collections.abc import Sequence
from math import log
from typing import NamedTuple

from workers.planning.step_budget import BLOCK, LONGEST_MS

LENGTHS = (1, 2, 3, 5, 7, 11, 15, 31)
"""Numbers of drafts to choose from, beside those that fill whole blocks."""
MOST = LENGTHS[-1]
GAIN = 1.1
"""A stream must become so many times as fast at least."""
NEW_ROW = 0.5
"""The cost of a row more than ever tried, in parts of one tried. Too low, so that it is tried."""
SAMPLES = 5
"""Steps of so many rows that are remembered."""
FORGET = 256
"""Steps with something to draft, after which times that did not occur in them are forgotten."""
ALLOWED = 0.01
"""The time that drafts may cost in vain, in parts of the time without them."""
CREDIT, DEBT = 20.0, 3.0
"""Bounds of the account, in steps."""


class Prospect(NamedTuple):
    """The facts about a stream before a step."""

    rate: float
    """The share of its tokens that were as foreseen lately; 0: none is foreseen now."""
    most: int
    """The most tokens that may follow the next one."""

    def expected(self, drafts: int) -> float:
        """Return the tokens that a step with so many drafts brings in the mean."""
        rate = min(self.rate, 0.99)
        return float((1 - rate ** (min(drafts, self.most) + 1)) / (1 - rate))


class RowTimes:
    """Milliseconds of a step by its rows: medians of the last ones, and guesses between them."""

    def __init__(self) -> None:
        self._samples: dict[int, deque[float]] = {}
        self._recent: set[int] = set()

    def add(self, rows: int, ms: float) -> None:
        """A step of so many rows took ``ms``."""
        self._samples.setdefault(rows, deque(maxlen=SAMPLES)).append(ms)
        self._recent.add(rows)

    def known(self, rows: int) -> bool:
        """Return whether steps of so many rows were measured more than once."""
        return len(self._samples.get(rows, ())) > 1

    def of(self, rows: int) -> float | None:
        """Return the time of so many rows; None: more than twice as many as were ever tried."""
        samples = self._samples.get(rows)
        if samples is not None:
            return sorted(samples)[(len(samples) - 1) // 2]
        fewer = max((known for known in self._samples if known < rows), default=None)
        more = min((known for known in self._samples if known > rows), default=None)
        below = self.of(fewer) if fewer is not None else None
        above = self.of(more) if more is not None else None
        if fewer is None or below is None:
            return None
        if more is None or above is None:
            if rows > 2 * fewer:
                return None
            return below * (1 + NEW_ROW * (rows - fewer) / fewer)
        return below + (above - below) * (rows - fewer) / (more - fewer)

    def forget(self) -> None:
        """Forget what was not measured since the last call: texts grow, machines get busy."""
        self._samples = {rows: self._samples[rows] for rows in self._recent}
        self._recent = set()


class Speculation:
    """Chooses how many drafts the streams of a step verify; learns from each step."""

    def __init__(self, rows: int) -> None:
        """``rows``: the most rows of logits of a step."""
        self._most_rows = rows
        self._times = RowTimes()
        self._account = CREDIT / 2
        """Steps that drafts may lose, or have lost."""
        self._asked = 0

    def length(self, streams: Sequence[Prospect], room: int) -> int:
        """Return the number of drafts for each of ``streams``; 0: it does not pay.

        ``room``: the most that each can hold.
        """
        alone = len(streams)
        if not any(stream.rate for stream in streams) or self._account <= 0:
            return 0
        self._asked += 1
        if self._asked % FORGET == 0:
            self._times.forget()
        if not self._times.known(alone):
            return 0
        best, chosen = alone * log(GAIN), 0
        for drafts in self._lengths(alone, room):
            gain = self._gain(streams, drafts)
            if gain > best:
                best, chosen = gain, drafts
        return chosen

    def _lengths(self, streams: int, room: int) -> list[int]:
        filling = {blocks * BLOCK // streams - 1 for blocks in (1, 2)}
        most = min(room, MOST, self._most_rows // streams - 1)
        return sorted(length for length in {*LENGTHS, *filling} if 0 < length <= most)

    def _gain(self, streams: Sequence[Prospect], drafts: int) -> float:
        """Return how many times as fast all would be with so many drafts: the product, as a log."""
        plain, ms = self._times.of(len(streams)), self._times.of(len(streams) * (1 + drafts))
        if plain is None or ms is None or ms > max(LONGEST_MS, plain):
            return 0.0
        tokens = sum(log(stream.expected(drafts)) for stream in streams if stream.rate)
        return tokens - len(streams) * log(ms / plain)

    def learn(self, streams: int, drafts: int, tokens: int, ms: float) -> None:
        """A step in which each of ``streams`` verified ``drafts`` brought ``tokens`` in ``ms``."""
        self._times.add(streams * (1 + drafts), ms)
        plain = self._times.of(streams)
        if not drafts or plain is None:
            self._account = min(CREDIT, self._account + ALLOWED)
            return
        saved = tokens / streams - ms / plain
        self._account = max(-DEBT, min(CREDIT, self._account + saved))
