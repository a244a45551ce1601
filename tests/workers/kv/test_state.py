"""States that go from one number of streams to another, and back."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.kv.state import HEAD, SequenceState

STREAMS = range(1, 9)


def part(streams: int, at: int, cells: bytes) -> bytes:
    """An attention memory's, as llama.cpp writes it; without cells all counts are 0."""
    counts = [0] * streams
    counts[at] = len(cells)
    before, after = counts[: at + 1], counts[at + 1 :]
    words = struct.pack(f"={1 + len(before)}I", streams, *before)
    return words + cells + struct.pack(f"={len(after)}I", *after)


def state(streams: int, at: int, cells: list[bytes], rest: bytes = b"") -> SequenceState:
    """One with a part for each of ``cells``, and what follows them."""
    data, starts = b"h" * HEAD, list[int]()
    for each in cells:
        starts.append(len(data))
        data += part(streams, at, each)
    return SequenceState(memoryview(data + rest), tuple(starts), len(data), streams)


def test_the_layout() -> None:
    """Of three streams the second has two cells."""
    assert part(3, 1, b"ab") == struct.pack("=3I", 3, 0, 2) + b"ab" + struct.pack("=I", 0)


CELLS = st.lists(st.binary(max_size=20), max_size=2)


@given(cells=CELLS, rest=st.binary(max_size=9), old=st.sampled_from(STREAMS), data=st.data())
def test_every_number_and_position(
    cells: list[bytes], rest: bytes, old: int, data: st.DataObject
) -> None:
    """One, two or no attention memories, and a recurrent one or none: as if it came from there."""
    at = data.draw(st.integers(0, old - 1))
    made = state(old, at, cells, rest)
    for new in STREAMS:
        there = made.translated(new)
        assert there.streams == new
        if new != old:
            # llama.cpp does not ask in which stream it was.
            assert there == state(new, new - 1, cells, rest)
        back = there.translated(old)
        assert back == (made if new == old or not cells else state(old, old - 1, cells, rest))
        assert there.translated(old).translated(new) == there


@pytest.mark.parametrize("streams", STREAMS)
def test_without_attention_it_is_the_same_everywhere(streams: int) -> None:
    made = SequenceState(memoryview(b"a recurrent state"), (), HEAD, 4)
    there = made.translated(streams)
    assert (there.data, there.streams) == (made.data, streams)


def test_nothing_is_copied_where_nothing_changes() -> None:
    made = state(4, 2, [b"cells"])
    assert made.translated(4).data is made.data
    assert made.size == len(made.data)
