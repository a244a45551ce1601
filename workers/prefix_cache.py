"""Token prefixes that are already computed, and whose cells a new prompt may share. Pure.

Every sequence with cells is a donor, running or finished. Finished ones are kept until somebody
needs their cells or their sequence id; the least recently used goes first.
"""

from collections.abc import Iterable, Sequence

WORTH = 16
"""Tokens that one must be spared to wait for them: waiting costs up to a step."""


class PrefixCache:
    """Which sequence holds the computed tokens of which text."""

    def __init__(self) -> None:
        self._running: dict[int, Sequence[int]] = {}
        self._kept: dict[int, Sequence[int]] = {}
        """Finished sequences, least recently used first."""

    @property
    def kept(self) -> set[int]:
        """The finished sequences that hold cells only as a cache."""
        return set(self._kept)

    def run(self, sequence: int, tokens: Sequence[int]) -> None:
        """``sequence`` is generating; ``tokens`` is its live list, which grows."""
        self._running[sequence] = tokens

    def keep(self, sequence: int, tokens: Sequence[int]) -> None:
        """``sequence`` finished and its cells hold exactly ``tokens``; they stay for others."""
        self._running.pop(sequence, None)
        self._kept[sequence] = tokens

    def forget(self, sequence: int) -> None:
        """``sequence`` holds no cells any more."""
        self._running.pop(sequence, None)
        self._kept.pop(sequence, None)

    def oldest(self) -> int | None:
        """The kept sequence to evict next, or None."""
        return next(iter(self._kept), None)

    def longest(self, prompt: Sequence[int], computed: dict[int, int]) -> tuple[int, int]:
        """The best donor for ``prompt`` and how many tokens it shares; (-1, 0) if there is none.

        ``computed`` says how many tokens of each sequence have cells. At least one token of the
        prompt is left over, because the logits of its last token are needed. Among equals a
        running sequence comes first: its cells are there anyway.
        """
        best, size = -1, 0
        for donors in (self._running, self._kept):
            for sequence, tokens in donors.items():
                limit = min(len(prompt) - 1, computed.get(sequence, 0))
                if limit > size and (shared := common(prompt, tokens, limit)) > size:
                    best, size = sequence, shared
        return best, size

    def use(self, sequence: int) -> None:
        """``sequence`` became a donor: if it is kept, it is the last to be evicted."""
        if sequence in self._kept:
            self._kept[sequence] = self._kept.pop(sequence)

    def coming(
        self, prompt: Sequence[int], computed: dict[int, int], computing: Iterable[int]
    ) -> int:
        """How many first tokens of ``prompt`` it pays to wait for; 0 if it does not.

        ``computing`` are the running sequences whose tokens are being computed. It pays if one of
        them will have :data:`WORTH` more of the prompt's tokens than anybody has now.
        """
        limit = len(prompt) - 1
        # A sequence that decodes lacks one token: nobody waits for what it may say.
        ahead = [s for s in computing if len(self._running[s]) - computed.get(s, 0) >= WORTH]
        size = max((common(prompt, self._running[s], limit) for s in ahead), default=0)
        return size if size >= WORTH + self.longest(prompt, computed)[1] else 0


def common(left: Sequence[int], right: Sequence[int], limit: int) -> int:
    """Length of the common prefix of two token lists, at most ``limit``."""
    low, high = 0, min(limit, len(left), len(right))
    while low < high:
        # Comparing slices runs in C; bisecting over them beats a Python loop over tokens.
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
