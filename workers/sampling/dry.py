"""DRY ("don't repeat yourself"): what tokens cost that would go on with a repetition. Pure.

This is llama.cpp's sampler of that name, but incremental, and with breakers looked for in the text.
llama.cpp looks through every way to tokenise them, for each request anew: a few odd strings take
seconds with a vocabulary of 150,000 tokens.
"""

import math
from collections import deque
from collections.abc import Sequence

from workers.protocol import Dry

MOST = 100.0
"""The largest penalty, in logits: as good as a ban. More would distort the spread of the logits,
by which top_n_sigma cuts."""
MAX_LAST_N = 1024
"""Most tokens that it looks back: where one token is repeated, each of them is looked at each time,
while the next token of every stream waits."""
MAX_TOKENS = 64
"""Tokens that are made dearer at once; those of the longest repetitions are."""


class Repetitions:
    """The repetitions in the tokens sampled so far, and the cost of each next token."""

    def __init__(self, dry: Dry, pieces: Sequence[bytes]) -> None:
        """``pieces``: the bytes of every token."""
        self._dry = dry
        self._pieces = pieces
        self._last_n = MAX_LAST_N if dry.last_n < 0 else min(dry.last_n, MAX_LAST_N)
        self._breakers = [breaker.encode() for breaker in dry.breakers]
        self._overlap = max(map(len, self._breakers), default=1) - 1
        """Bytes that the beginning of a breaker may have in tokens before."""
        self._tokens: list[int] = []
        self._places: dict[int, deque[int]] = {}
        """Places of each token, as far as they are looked at."""
        self._lengths: dict[int, int] = {}
        """Number of tokens up to and with each of these places that equal the last ones."""
        self._since_break = 0
        """Tokens that came after the last breaker."""
        self._tail = b""

    def accept(self, token: int) -> None:
        """``token`` was sampled."""
        here = len(self._tokens)
        places = self._places.setdefault(token, deque())
        while places and places[0] <= here - self._last_n:
            places.popleft()
        self._lengths = {place: self._lengths.get(place - 1, 0) + 1 for place in places}
        places.append(here)
        self._tokens.append(token)
        self._since_break = 0 if self._breaks(self._pieces[token]) else self._since_break + 1

    def _breaks(self, piece: bytes) -> bool:
        """Return whether a breaker ends in ``piece``, which comes next."""
        text = self._tail + piece
        fresh = len(self._tail)
        self._tail = text[-self._overlap :] if self._overlap else b""
        return any(text.rfind(b) + len(b) > fresh for b in self._breakers if b in text)

    def penalties(self) -> list[tuple[int, float]]:
        """Tokens that would make a repetition too long, and what to subtract from their logits."""
        start = len(self._tokens) - self._last_n
        longest: dict[int, int] = {}
        for place, length in self._lengths.items():
            within = min(length, self._since_break, place - start + 1)
            if within >= self._dry.allowed_length:
                token = self._tokens[place + 1]
                longest[token] = max(within, longest.get(token, 0))
        heaviest = sorted(longest.items(), key=lambda item: (-item[1], item[0]))
        free = (
            (token, self._penalty(length))
            for token, length in heaviest[:MAX_TOKENS]
            if not any(breaker in self._pieces[token] for breaker in self._breakers)
        )
        return list(free)

    def _penalty(self, length: int) -> float:
        exponent = length - self._dry.allowed_length
        if math.log(self._dry.multiplier) + exponent * math.log(self._dry.base) > math.log(MOST):
            return MOST
        return self._dry.multiplier * self._dry.base**exponent
