"""The best donor against brute force, and who is evicted first."""

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.prefix_cache import WORTH, PrefixCache, common

TOKENS = st.lists(st.integers(0, 1), max_size=12)


def brute(left: list[int], right: list[int], limit: int) -> int:
    sizes = range(min(limit, len(left), len(right)) + 1)
    return max(size for size in sizes if left[:size] == right[:size])


@settings(max_examples=150, deadline=None)
@given(TOKENS, TOKENS, st.integers(0, 15))
def test_common(left: list[int], right: list[int], limit: int) -> None:
    assert common(left, right, limit) == brute(left, right, limit)


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=12),
    donors=st.lists(st.tuples(TOKENS, st.integers(0, 12), st.booleans()), max_size=6),
)
def test_longest(prompt: list[int], donors: list[tuple[list[int], int, bool]]) -> None:
    cache = PrefixCache()
    computed = {}
    sizes = {}
    for seq, (tokens, cells, kept) in enumerate(donors):
        (cache.keep if kept else cache.run)(seq, tokens)
        computed[seq] = min(cells, len(tokens))
        sizes[seq] = brute(prompt, tokens, min(len(prompt) - 1, computed[seq]))
    donor, shared = cache.longest(prompt, computed)
    assert shared == max(sizes.values(), default=0)
    assert donor == -1 if shared == 0 else sizes[donor] == shared
    running = [seq for seq, (_, _, kept) in enumerate(donors) if not kept and sizes[seq] == shared]
    assert not shared or not running or donor in running, "its cells are there anyway"


LONG = st.integers(0, 40).map(lambda size: [0] * size)


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.builds(lambda head, tail: [*head, 1, *tail], LONG, TOKENS),
    donors=st.lists(
        st.tuples(
            st.builds(lambda head, tail: head + tail, LONG, TOKENS),
            st.integers(0, 50),
            st.booleans(),
            st.booleans(),
        ),
        max_size=5,
    ),
)
def test_coming(prompt: list[int], donors: list[tuple[list[int], int, bool, bool]]) -> None:
    """Worth its wait is what saves enough, and what is really being computed."""
    cache = PrefixCache()
    computed, computing = {}, []
    for seq, (tokens, cells, kept, stalled) in enumerate(donors):
        (cache.keep if kept else cache.run)(seq, tokens)
        computed[seq] = len(tokens) if kept else min(cells, max(len(tokens) - 1, 0))
        computing += [] if kept or stalled else [seq]
    limit = len(prompt) - 1
    will_be = [brute(prompt, donors[seq][0], limit) for seq in computing]
    are = [brute(prompt, tokens, min(limit, computed[s])) for s, (tokens, *_) in enumerate(donors)]
    coming = max(will_be, default=0)
    saved = coming - max(are, default=0)
    assert cache.coming(prompt, computed, computing) == (coming if saved >= WORTH else 0)


def test_nobody_waits_for_what_is_sampled() -> None:
    """A sequence that decodes is always a token ahead of its cells; that token is not awaited."""
    cache = PrefixCache()
    live = [0] * 100
    cache.run(1, live)
    prompt = [0] * 200
    assert cache.coming(prompt, {1: 0}, [1]) == 100
    for cells in range(99, 120):
        assert cache.coming(prompt, {1: cells}, [1]) == 0
        live.append(0)


def test_sequence_without_cells_is_no_donor() -> None:
    cache = PrefixCache()
    cache.keep(1, [1, 2, 3])
    assert cache.longest([1, 2, 3, 4], {}) == (-1, 0)


def test_running_sequence_grows() -> None:
    cache = PrefixCache()
    live = [1, 2]
    cache.run(1, live)
    assert cache.longest([1, 2, 3, 4], {1: 2}) == (1, 2)
    live.append(3)
    assert cache.longest([1, 2, 3, 4], {1: 3}) == (1, 3)


def test_least_recently_used_goes_first() -> None:
    cache = PrefixCache()
    assert cache.oldest() is None
    computed = dict.fromkeys(range(3), 2)
    for seq in range(3):
        cache.keep(seq, [seq, seq])
    assert cache.oldest() == 0
    assert cache.longest([0, 0, 9], computed) == (0, 2)  # asking changes nothing
    assert cache.oldest() == 0
    cache.use(0)  # being used makes it the newest
    assert cache.oldest() == 1
    cache.forget(1)
    assert cache.oldest() == 2
    assert cache.kept == {0, 2}


def test_running_sequences_are_not_evicted() -> None:
    cache = PrefixCache()
    cache.run(1, [1, 2])
    cache.use(1)
    assert cache.oldest() is None
    cache.keep(1, [1, 2])
    assert cache.oldest() == 1
    cache.forget(1)
    cache.forget(1)
    assert cache.kept == set()
