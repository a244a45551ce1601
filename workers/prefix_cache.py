"""Token prefixes that are already computed, and whose cells a new prompt may share. Pure.

Every sequence with cells is a donor, running or finished. Finished ones are kept until somebody
needs their cells or their sequence id; the least recently used goes first.
"""

from collections.abc import Sequence


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
        prompt is left over, because the logits of its last token are needed.
        """
        best, size = -1, 0
        for donors in (self._kept, self._running):
            for sequence, tokens in donors.items():
                limit = min(len(prompt) - 1, computed.get(sequence, 0))
                if limit > size and (shared := common(prompt, tokens, limit)) > size:
                    best, size = sequence, shared
        if best in self._kept:
            self._kept[best] = self._kept.pop(best)
        return best, size


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
