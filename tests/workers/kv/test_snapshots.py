"""The store of snapshots: which one is found, and which one goes."""

from hypothesis import given
from hypothesis import strategies as st

from tests.workers.kv.mirror import state_of
from workers.kv.snapshots import Mark, PrefixSnapshot, SnapshotStore, usable

TEXTS = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=10), max_size=8)


def snapshot(tokens: list[int], *ends: int, scope: str = "", cuts: bool = True) -> PrefixSnapshot:
    marks = None if cuts else [Mark(end, state_of(tokens[:end])) for end in ends]
    return PrefixSnapshot(scope, tokens, state_of(tokens), marks)


def common(left: list[int], right: list[int]) -> int:
    size = 0
    while size < min(len(left), len(right)) and left[size] == right[size]:
        size += 1
    return size


@given(TEXTS, st.lists(st.integers(0, 1), max_size=11), st.booleans(), st.integers(0, 12))
def test_the_longest_that_fits(
    texts: list[list[int]], prompt: list[int], cuts: bool, cells: int
) -> None:
    """Against all of them, one by one; and none gives more than it can be cut to."""
    store = SnapshotStore(1 << 20)
    for text in texts:
        store.put(snapshot(text, len(text) // 2 or 1, cuts=cuts))
        assert store.covers("", text), "it is there, or within another"
    there = [(s, s.usable(common(s.tokens, prompt[:-1]))) for s in store if len(s.tokens) <= cells]
    found, count = store.longest("", prompt, cells)
    assert count == max((size for _, size in there), default=0)
    assert (found is None) == (count == 0)
    assert found is None or (found, count) in there
    assert store.longest("other", prompt, cells) == (None, 0)
    if cuts:  # one that replaces another has its own marks, and not those of the other
        assert all(store.covers("", text) for text in texts)


def test_what_a_state_can_be_cut_to() -> None:
    marks = [Mark(3, state_of([])), Mark(7, state_of([]))]
    assert [usable(same, 9, None) for same in (0, 4, 9, 12)] == [0, 4, 9, 9]
    assert [usable(same, 9, marks) for same in (2, 3, 6, 8, 9, 12)] == [0, 3, 3, 7, 9, 9]


def test_one_that_is_too_large_displaces_none() -> None:
    small, large = snapshot([1] * 10), snapshot([2] * 100)
    store = SnapshotStore(small.size)
    store.put(small)
    store.put(large)
    assert list(store) == [small]
    store.put(large, pinned=True)
    assert list(store) == [small, large]
    store.unpin(large)
    assert list(store) == [small]
    assert (large.tokens, large.state.size) == ([], 0), "its memory is free"


def test_the_least_recently_used_goes() -> None:
    three = [snapshot([n] * 10) for n in range(3)]
    store = SnapshotStore(2 * three[0].size)
    store.put(three[0])
    store.put(three[1])
    store.use(three[0])
    store.put(three[2])
    assert list(store) == [three[0], three[2]]
    assert store.bytes == 2 * three[0].size


def test_how_many_tokens_have_room() -> None:
    """By the size of those that came last, also when all of them are gone."""
    texts = snapshot([1] * 10), snapshot([2] * 30)
    store = SnapshotStore(7 * sum(text.size for text in texts))
    assert store.room == 0, "not known yet"
    for text in texts:
        store.put(text)
    assert store.room == 7 * 40
    for text in texts:
        store.remove(text)
    assert store.room == 7 * 40
    assert SnapshotStore(0).room == 0
