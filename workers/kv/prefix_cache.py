"""Token prefixes that are already computed, and whose cells a new prompt may share. Pure.

Every sequence with cells is a donor, running, parked or finished. Finished ones are kept until
their cells or their sequence ids are needed; the least recently used goes first.
"""

from collections.abc import Callable, Iterable, Sequence

from workers.kv.radix import RadixTree, common

WORTH = 16
"""Tokens that one must be spared to wait for them: waiting costs up to a step."""

Cells = Callable[[int], int]
"""How many first tokens of a sequence have cells."""


class PrefixCache:
    """The sequences that hold the computed tokens of texts."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._tree = RadixTree()
        """The texts. An answer is added when its sequence stops: till then the prompt is here."""
        self._running: dict[int, Sequence[int]] = {}
        self._kept: dict[int, Sequence[int]] = {}
        """Finished sequences, least recently used first."""

    @property
    def kept(self) -> dict[int, Sequence[int]]:
        """The finished sequences that hold cells only as a cache, least recently used first."""
        return self._kept

    def run(self, sequence: int, tokens: Sequence[int]) -> None:
        """``sequence`` is generating, maybe on from what was kept of it.

        ``tokens`` is its live list, which grows.
        """
        self._kept.pop(sequence, None)
        self._running[sequence] = tokens
        self._tree.insert(sequence, tokens)

    def pause(self, sequence: int) -> None:
        """A running ``sequence`` is parked: it computes nothing, and others may have its answer."""
        self._tree.insert(sequence, self._running[sequence])

    def keep(self, sequence: int, tokens: Sequence[int]) -> None:
        """``sequence`` finished and its cells hold exactly ``tokens``; they stay for others."""
        self._running.pop(sequence, None)
        self._kept[sequence] = tokens
        self._tree.insert(sequence, tokens)

    def forget(self, sequence: int) -> None:
        """``sequence`` holds no cells any more."""
        self._running.pop(sequence, None)
        self._kept.pop(sequence, None)
        self._tree.remove(sequence)

    def longest(self, prompt: Sequence[int]) -> tuple[int, int]:
        """The best donor for ``prompt`` and how many tokens it shares; (-1, 0) if there is none.

        At least one token of the prompt is left over, because the logits of its last token are
        needed. Among equals a running sequence comes first: its cells are there anyway.
        """
        best, size = -1, 0
        for same, sequences in reversed(list(self._tree.path(prompt))):
            limit = min(same, len(prompt) - 1)
            if limit < size:
                break
            for sequence in sequences:
                shared = min(limit, self._cells(sequence))
                if shared > size or (shared == size > 0 and best in self._kept):
                    best, size = sequence, shared
        return best, size

    def whole(self, prompt: Sequence[int]) -> int:
        """The longest kept sequence that ``prompt`` goes on from, all of it; -1 for none."""
        ends = self._within(prompt[:-1])
        return max(ends, key=lambda sequence: len(self._kept[sequence]), default=-1)

    def spare(self, sequence: int) -> list[int]:
        """Kept sequences that ``sequence`` goes on from: a look-up of one finds it, too."""
        owner = self._running if sequence in self._running else self._kept
        tokens = owner[sequence]
        within = self._within(tokens[: self._cells(sequence)])
        return [other for other in within if other != sequence]

    def covered(self, sequence: int) -> bool:
        """True if another sequence holds all tokens of a kept one: a look-up finds that, too."""
        tokens = self._kept[sequence]
        holders = dict(self._tree.path(tokens)).get(len(tokens), ())
        return any(s != sequence and self._cells(s) >= len(tokens) for s in holders)

    def _within(self, tokens: Sequence[int]) -> list[int]:
        """Kept sequences that hold a prefix of ``tokens``, or all of them."""
        by_size = dict(self._tree.path(tokens))
        return [s for s, kept in self._kept.items() if s in by_size.get(len(kept), ())]

    def use(self, sequence: int) -> None:
        """``sequence`` became a donor: if it is kept, it is the last to be evicted."""
        if sequence in self._kept:
            self._kept[sequence] = self._kept.pop(sequence)

    def coming(self, prompt: Sequence[int], computing: Iterable[int]) -> int:
        """Return how many first tokens of ``prompt`` it pays to wait for; 0 if it does not.

        ``computing`` are the running sequences whose tokens are being computed. It pays if one of
        them will have :data:`WORTH` more of the prompt's tokens than any sequence has now.
        """
        limit = len(prompt) - 1
        # A sequence that decodes lacks one token: nothing waits for what it may say.
        ahead = [s for s in computing if len(self._running[s]) - self._cells(s) >= WORTH]
        size = max((common(prompt, self._running[s], limit) for s in ahead), default=0)
        return size if size >= WORTH and size >= WORTH + self.longest(prompt)[1] else 0
