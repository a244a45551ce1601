from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.batches.splitting import LineSplitter, RawLine


def split(chunks: list[bytes], longest: int = 100) -> list[RawLine]:
    splitter = LineSplitter(longest)
    found = [line for chunk in chunks for line in splitter.feed(chunk)]
    return [*found, *splitter.end()]


def test_lines_keep_their_numbers_and_empty_ones_are_left_out() -> None:
    assert split([b"a\r\n\n  \nb\n", b"c"]) == [(1, b"a"), (4, b"b"), (5, b"c")]
    assert split([b""]) == []
    assert split([b"\n\n"]) == []


def test_nothing_is_kept_of_a_line_that_is_too_long() -> None:
    splitter = LineSplitter(10)
    assert splitter.feed(b"x" * 11) == []
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter._parts == []
    assert splitter.feed(b"\nnext\n") == [(1, None), (2, b"next")]
    assert split([b"y" * 10], 10) == [(1, b"y" * 10)]
    assert split([b"y" * 11], 10) == [(1, None)]


@given(st.binary(max_size=200).map(lambda data: data.replace(b"x", b"\n")), st.data())
def test_chunks_do_not_matter(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=10)))
    bounds = [0, *cuts, len(data)]
    chunks = [data[a:b] for a, b in pairwise(bounds)]
    expected = [
        (number, line.strip())
        for number, line in enumerate(data.split(b"\n"), start=1)
        if line.strip()
    ]
    assert split(chunks, 1000) == expected
