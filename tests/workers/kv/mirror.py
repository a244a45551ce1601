"""llama.cpp's memory as the KV cache sees it, which knows what was computed."""

from collections.abc import Sequence

from workers.kv.state import SequenceState
from workers.planning.geometry import Geometry

TOKEN = 4
"""Bytes of a state for each token."""


def tokens_of(state: SequenceState) -> list[int]:
    return memoryview(state.data).cast("i").tolist()


def state_of(tokens: Sequence[int], streams: int = 1) -> SequenceState:
    data = b"".join(token.to_bytes(TOKEN, "little") for token in tokens)
    return SequenceState(memoryview(data), (), 0, streams)


class MirrorMemory:
    """Implements :class:`workers.kv.kv.Memory`: the tokens of each sequence that has any."""

    def __init__(self, geometry: Geometry, *, cuts: bool) -> None:
        self.geometry = geometry
        self.cuts = cuts
        self.cells: dict[int, list[int]] = {}
        self.failing = False
        """Restores fail, as if there were no memory."""
        self.failed = self.saved = 0

    def reshape(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.cells.clear()

    def fits(self, number: int, count: int) -> bool:
        """Tell whether a sequence may have ``count`` cells more."""
        assert 0 <= number < self.geometry.sequences
        used = sum(map(len, self.cells.values())) if self.geometry.unified else self.length(number)
        return used + count <= self.geometry.cells

    def compute(self, number: int, tokens: Sequence[int]) -> None:
        assert self.fits(number, len(tokens)), "a sequence outgrew its cells"
        self.cells[number] = [*self.cells.get(number, []), *tokens]

    def drop(self, number: int) -> None:
        self.cells.pop(number, None)

    def cut(self, number: int, end: int) -> None:
        assert self.cuts
        assert 0 < end <= self.length(number)
        del self.cells[number][end:]

    def length(self, number: int) -> int:
        return len(self.cells.get(number, []))

    def save(self, number: int) -> SequenceState:
        self.saved += 1
        return state_of(self.cells.get(number, []))

    def restore(self, number: int, state: SequenceState) -> bool:
        assert number not in self.cells, "only an empty sequence is restored"
        tokens = tokens_of(state)
        if self.failing or not self.fits(number, len(tokens)):
            self.failed += 1
            return False
        if tokens:
            self.cells[number] = tokens
        return True

    def mark(self, number: int) -> SequenceState:
        assert not self.cuts
        return state_of(self.cells[number])

    def rewind(self, number: int, state: SequenceState, end: int) -> bool:
        assert not self.cuts
        if self.failing:
            self.failed += 1
            return False
        assert tokens_of(state) == self.cells[number][:end], "the mark is another text's"
        del self.cells[number][end:]
        return True
