"""Blocks of states: found by what stands before them, each saved once, bounded in bytes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.kv.host_cache import HostCache

SIZE = 10


def save(host: HostCache, tokens: list[int], needless: int = 0) -> list[int]:
    """With states that say what they are of; the ends of the blocks that were read."""
    read = []

    def state(first: int, end: int) -> bytearray:
        read.append(end)
        return bytearray(str(tokens[:end]).encode()[:SIZE].ljust(SIZE))

    host.save(tokens, needless, state)
    return read


def ends(host: HostCache, tokens: list[int], known: int = 0) -> list[int]:
    return [end for end, _ in host.find(tokens, known)]


def test_blocks_of_a_text() -> None:
    host = HostCache(1000, block=4)
    assert save(host, list(range(11))) == [8, 4], "the end is no block"
    assert host.bytes == 2 * SIZE
    assert ends(host, list(range(20))) == [4, 8]
    assert ends(host, list(range(7))) == [4]
    assert ends(host, [*range(5), 9, 9, 9]) == [4]
    assert ends(host, [9, *range(1, 11)]) == [], "what stands before them is another text"
    assert ends(host, list(range(11)), known=3) == [4, 8]
    assert ends(host, list(range(11)), known=4) == [8]
    assert ends(host, list(range(11)), known=8) == []


def test_what_texts_have_in_common_is_saved_once() -> None:
    host = HostCache(1000, block=4)
    save(host, [1] * 8)
    assert save(host, [1] * 8 + [2] * 4) == [12]
    assert host.bytes == 3 * SIZE


def test_what_others_hold_is_not_read() -> None:
    host = HostCache(1000, block=4)
    assert save(host, [1] * 12, needless=5) == [12, 8], "the second is theirs in part only"
    assert ends(host, [1] * 12) == [], "nothing goes on from the first token"
    assert ends(host, [1] * 12, known=5) == [8, 12]


def test_least_recently_used_goes_first_and_ends_before_beginnings() -> None:
    host = HostCache(5 * SIZE, block=4)
    save(host, [1] * 8)
    save(host, [2] * 8)
    assert ends(host, [1] * 8) == [4, 8]  # now the second is older
    save(host, [3] * 8)
    assert [ends(host, [n] * 8) for n in (1, 2, 3)] == [[4, 8], [4], [4, 8]]
    assert host.bytes == 5 * SIZE
    save(host, [4] * 40)
    assert ends(host, [4] * 40) == [4, 8, 12, 16, 20], "of a text that is too long, what fits"


@settings(max_examples=100, deadline=None)
@given(
    capacity=st.integers(0, 8),
    texts=st.lists(
        st.tuples(st.lists(st.integers(0, 1), max_size=16), st.integers(0, 16)), max_size=12
    ),
    prompt=st.lists(st.integers(0, 1), max_size=16),
)
def test_bounded_and_true(
    capacity: int, texts: list[tuple[list[int], int]], prompt: list[int]
) -> None:
    host = HostCache(capacity * SIZE, block=3)
    for tokens, needless in texts:
        save(host, tokens, needless)
        assert host.bytes == len(host._states) * SIZE <= capacity * SIZE
    saved = {tuple(t[:end]) for t, _ in texts for end in range(3, len(t) + 1, 3)}
    for end, state in host.find(prompt, 0):
        assert tuple(prompt[:end]) in saved
        assert state == str(prompt[:end]).encode()[:SIZE].ljust(SIZE)
    host.clear()
    assert (host.bytes, host.find(prompt, 0)) == (0, [])
