"""The state of one sequence as llama.cpp writes it, and its translation between geometries. Pure.

llama.cpp's format (llama-kv-cache.cpp, ``state_write``): a magic and the sequence's number, then
one part for each memory of the model. That of an attention memory begins with its number of streams
and goes on with each stream's count of cells, of which one is not 0 and is followed by its cells.
A context with another number of streams refuses such a part, so these few numbers are written anew.
All are 32 bits wide, in the machine's order.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

HEAD = 8
"""Bytes before the first part."""
WORD = 4


class SequenceState(NamedTuple):
    """The state of one sequence, taken from a context with so many ``streams``."""

    data: memoryview
    parts: tuple[int, ...]
    """Beginnings of the parts of attention memories; what follows the last of them is ``rest``."""
    end: int
    """End of the last of those parts."""
    streams: int

    @property
    def size(self) -> int:
        """Return its bytes."""
        return len(self.data)

    def translated(self, streams: int) -> "SequenceState":
        """Return the same state for a context with so many streams."""
        if streams == self.streams or not self.parts:
            return self._replace(streams=streams)
        ends = (*self.parts[1:], self.end)
        pieces: list[bytes | memoryview] = [self.data[: self.parts[0]]]
        starts = list[int]()
        for start, end in zip(self.parts, ends, strict=True):
            starts.append(sum(map(len, pieces)))
            pieces += _restreamed(self.data[start:end], self.streams, streams)
        end = sum(map(len, pieces))
        data = memoryview(b"".join([*pieces, self.data[self.end :]]))
        return SequenceState(data, tuple(starts), end, streams)


def _restreamed(part: memoryview, old: int, new: int) -> Iterator[bytes | memoryview]:
    """Yield a part as if it came from ``new`` streams: the occupied one comes last."""
    empty = 0
    while empty < old - 1 and not any(part[WORD * (1 + empty) : WORD * (2 + empty)]):
        empty += 1
    yield new.to_bytes(WORD, sys.byteorder)
    yield bytes(WORD * (new - 1))
    yield part[WORD * (1 + empty) : len(part) - WORD * (old - 1 - empty)]
