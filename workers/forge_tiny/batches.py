"""Conversations to training batches: packed rows, and loss only where the assistant speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .corpus import CorpusConversation
from .rendering import render
from .tokenizer import END_OF_TEXT, TURN_END, TURN_START

CHUNK = 512
FULL_WEIGHT = 14
RESULT_WEIGHT = 3.0


@dataclass(frozen=True)
class Batch:
    """Token ids (B, T) and the loss weight of predicting each of them (0 outside of answers)."""

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]

    def split(self, parts: int) -> list[Batch]:
        """Up to so many batches of whole rows."""
        pieces = min(parts, len(self.ids))
        ids, weights = np.array_split(self.ids, pieces), np.array_split(self.weights, pieces)
        return [Batch(i, w) for i, w in zip(ids, weights, strict=True)]


@dataclass(frozen=True)
class Document:
    """One tokenised conversation with its loss weights."""

    ids: list[int]
    weights: list[float]


class Encoder:
    """Tokenises conversations and marks the assistant's tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.header = tokenizer.encode(f"{TURN_START}assistant\n").ids
        self.turn_end = tokenizer.token_to_id(TURN_END)
        self.end = tokenizer.token_to_id(END_OF_TEXT)
        self.equals = tokenizer.encode(" =").ids
        self.stop = tokenizer.encode(".").ids

    def weigh(self, ids: list[int]) -> list[float]:
        """The loss weight of each token, 0 outside of the assistant's turns.

        It is 1 in a short answer and less in long ones, else stories would outweigh sums; the
        result of a sum counts three times, because copying the operands is easy. The last two
        tokens of an answer count fully: in a list of N things the place to stop is what comes
        hard. Plain text, which has no turns, counts as a whole.
        """
        size = len(self.header)
        if ids[0] != self.header[0]:
            return [min(1.0, (FULL_WEIGHT / len(ids)) ** 0.6)] * len(ids)
        weights = [0.0] * len(ids)
        for at, token in enumerate(ids):
            if token == self.header[0] and ids[at : at + size] == self.header:
                stop = ids.index(self.turn_end, at + size) + 1
                length = stop - at - size
                plain = self.equals[0] not in ids[at + size : stop]
                weight = min(1.0, (FULL_WEIGHT / length) ** 0.6) if plain else 1.0
                weights[at + size : stop] = [weight] * length
                weights[stop - 2 : stop] = [1.0] * 2
        return self._stress_results(ids, weights)

    def _stress_results(self, ids: list[int], weights: list[float]) -> list[float]:
        inside = False
        for at, token in enumerate(ids):
            if inside:
                weights[at] *= RESULT_WEIGHT
            inside = [token] == self.equals or (inside and [token] != self.stop)
        return weights

    def documents(self, source: Iterator[CorpusConversation]) -> Iterator[Document]:
        """Tokenised conversations for ever."""
        while True:
            texts = [render(c) for c in islice(source, CHUNK)]
            for encoding in self.tokenizer.encode_batch(texts):
                ids = [*encoding.ids, self.end]
                yield Document(ids, self.weigh(ids))


class Packer:
    """Fills rows with whole documents; what does not fit waits for a later row."""

    def __init__(
        self, source: Iterator[Document], length: int, pad: int, *, cut: bool = False
    ) -> None:
        self.source, self.length, self.pad, self.cut = source, length, pad, cut
        self.short: list[Document] = []
        self.long: list[Document] = []

    def _refill(self) -> None:
        while len(self.short) < 64:
            document = next(self.source)
            if self.cut:
                cut = slice(self.length)
                document = Document(document.ids[cut], document.weights[cut])
            (self.short if len(document.ids) <= self.length else self.long).append(document)

    def _row(self, length: int, first: Document | None) -> tuple[list[int], list[float]]:
        ids, weights = (first.ids[:length], first.weights[:length]) if first else ([], [])
        ids, weights = list(ids), list(weights)
        self._refill()
        kept = []
        for document in self.short:
            if len(ids) + len(document.ids) <= length:
                ids += document.ids
                weights += document.weights
            else:
                kept.append(document)
        self.short = kept
        missing = length - len(ids)
        return ids + [self.pad] * missing, weights + [0.0] * missing

    def batches(self, rows: int) -> Iterator[Batch]:
        """Rows of `length`; longer documents are cut, or get half as many rows, twice as long."""
        while True:
            self._refill()
            if len(self.long) >= max(rows // 2, 1):
                firsts, self.long = self.long[: rows // 2], self.long[rows // 2 :]
                yield _batch([self._row(2 * self.length, first) for first in firsts])
            else:
                yield _batch([self._row(self.length, None) for _ in range(rows)])


def _batch(rows: list[tuple[list[int], list[float]]]) -> Batch:
    return Batch(
        np.array([ids for ids, _ in rows], dtype=np.int64),
        np.array([weights for _, weights in rows], dtype=np.float32),
    )
