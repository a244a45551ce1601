"""Prompts that no two requests share, made of words that are tokens of the model at hand."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader

from .client import Messages

SPACES = ("\u0120", "\u2581")
"""The space before a word, as byte-level BPE and SentencePiece write it."""
LEAST = 4
"""Letters of a word, at least, where there are enough of those."""


@dataclass(frozen=True, slots=True)
class Known:
    """Facts from a model's file."""

    words: list[str]
    context: int
    """The most tokens that a sequence may have."""


def known(path: Path) -> Known:
    """Raises ValueError if the vocabulary has no words."""
    fields = GGUFReader(path).fields
    architecture = fields["general.architecture"].contents()
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    pieces = [token[1:] for token in tokens if token.startswith(SPACES)]
    words = [word for word in pieces if word.isascii() and word.isalpha() and word.islower()]
    if not words:
        raise ValueError(f"{path}: no words in the vocabulary")
    long = [word for word in words if len(word) >= LEAST]
    context = int(fields[f"{architecture}.context_length"].contents())
    return Known(long if len(long) > 100 else words, context)


class Prompts:
    """Never the same twice, but the same ones for the same seed: every system gets equal ones."""

    def __init__(self, words: list[str], seed: str) -> None:
        self._words, self.rng = words, random.Random(seed)

    def text(self, words: int) -> str:
        """Return so many words, which are a few tokens more."""
        return " " + " ".join(self.rng.choices(self._words, k=words))

    def chat(self, words: int, system: str | None = None) -> Messages:
        """One question, with a system prompt before it if there is one."""
        before = [] if system is None else [{"role": "system", "content": system}]
        return [*before, {"role": "user", "content": self.text(words)}]


def arrivals(rate: float, number: int, seed: str) -> list[float]:
    """The moments of a Poisson process, in seconds from its start."""
    rng, at, found = random.Random(seed), 0.0, []
    for _ in range(number):
        at += rng.expovariate(rate)
        found.append(at)
    return found
