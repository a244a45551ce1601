"""The share of a text that could have been copied: n-grams that came before. Pure."""

from __future__ import annotations

import re

N = 8
PIECE = re.compile(r"\w+|[^\w\s]")
"""Words and marks stand for tokens, which streams do not show."""


def repeated(prompt: str, answer: str, n: int = N) -> tuple[int, int]:
    """Return the number of the answer's n-grams that came before, in prompt or answer; of all."""
    seen = set(_grams(prompt, n))
    again, total = 0, 0
    for gram in _grams(answer, n):
        again += gram in seen
        total += 1
        seen.add(gram)
    return again, total


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    pieces = PIECE.findall(text)
    return [tuple(pieces[at : at + n]) for at in range(len(pieces) - n + 1)]
