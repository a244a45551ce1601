"""Cells that had to go, saved in the host's memory: to copy them back is cheaper than to compute.

A text is saved in blocks of its tokens, each under a digest of all tokens up to its end. So what
texts have in common is saved once, and a text that lost its end is of use as far as it goes. Pure:
what a block's state is, is llama.cpp's business.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import takewhile

BLOCK = 64
"""Tokens. Copying smaller ones costs more calls, of larger ones more is lost at the end."""


class HostCache:
    """Blocks of states, at most so many bytes of them; the least recently used go first."""

    def __init__(self, capacity: int, block: int = BLOCK) -> None:
        """``capacity`` in bytes, ``block`` in tokens."""
        self._capacity = capacity
        self.block = block
        self._states: OrderedDict[bytes, bytearray] = OrderedDict()
        """The least recently used first. No block outlives those before it: it would be no use."""
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """The size of the states."""
        return self._bytes

    def save(
        self, tokens: Sequence[int], needless: int, read: Callable[[int, int], bytearray]
    ) -> None:
        """Save the blocks of ``tokens`` that are not here, but for the first ``needless`` tokens.

        ``read`` gives the state of the tokens from a position on to another.
        """
        block = self.block
        for index, digest in reversed(list(enumerate(_digests(tokens, block)))):
            if digest in self._states:
                self._states.move_to_end(digest)
            elif (index + 1) * block > needless:
                state = read(index * block, (index + 1) * block)
                self._states[digest] = state
                self._bytes += len(state)
        while self._bytes > self._capacity:
            self._bytes -= len(self._states.popitem(last=False)[1])

    def find(self, tokens: Sequence[int], known: int) -> list[tuple[int, bytearray]]:
        """The blocks that go on from the first ``known`` tokens, and where each ends."""
        digests = list(_digests(tokens, self.block)) if self._states else []
        first = known // self.block
        found = list(takewhile(self._states.__contains__, digests[first:]))
        for digest in reversed(digests[: first + len(found)]):
            if digest in self._states:
                self._states.move_to_end(digest)
        ends = range((first + 1) * self.block, len(tokens) + 1, self.block)
        return [(end, self._states[digest]) for end, digest in zip(ends, found, strict=False)]

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._bytes = 0


def _digests(tokens: Sequence[int], block: int) -> Iterator[bytes]:
    """For each whole block, of all tokens from the first on."""
    data = array("i", tokens)
    width = block * data.itemsize
    view, hash_ = memoryview(data).cast("B"), blake2b(digest_size=16)
    for start in range(0, len(view) - width + 1, width):
        hash_.update(view[start : start + width])
        yield hash_.digest()
