"""The best donor against brute force, who is spared, and who is evicted first."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.kv.test_radix import TOKENS, brute
from workers.kv.prefix_cache import WORTH, PrefixCache


def cache(cells: dict[int, int]) -> PrefixCache:
    return PrefixCache(lambda sequence: cells.get(sequence, 0))


@settings(max_examples=200, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=12),
    donors=st.lists(st.tuples(TOKENS, st.integers(0, 12), st.booleans()), max_size=6),
)
def test_longest(prompt: list[int], donors: list[tuple[list[int], int, bool]]) -> None:
    """Against a look at every token of every donor."""
    cells: dict[int, int] = {}
    made = cache(cells)
    sizes = {}
    for seq, (tokens, computed, kept) in enumerate(donors):
        (made.keep if kept else made.run)(seq, tokens)
        cells[seq] = min(computed, len(tokens))
        sizes[seq] = brute(prompt, tokens, min(len(prompt) - 1, cells[seq]))
    donor, shared = made.longest(prompt)
    assert shared == max(sizes.values(), default=0)
    assert donor == -1 if shared == 0 else sizes[donor] == shared
    running = [seq for seq, (_, _, kept) in enumerate(donors) if not kept and sizes[seq] == shared]
    assert not shared or not running or donor in running, "its cells are there anyway"


@settings(max_examples=200, deadline=None)
@given(
    tokens=TOKENS,
    computed=st.integers(0, 12),
    others=st.lists(st.tuples(TOKENS, st.booleans(), st.integers(0, 12)), max_size=6),
)
def test_who_can_be_spared(
    tokens: list[int], computed: int, others: list[tuple[list[int], bool, int]]
) -> None:
    cells = {9: min(computed, len(tokens))}
    made = cache(cells)
    made.run(9, tokens)
    spare, covering = set(), []
    for seq, (other, kept, some) in enumerate(others):
        (made.keep if kept else made.run)(seq, other)
        cells[seq] = len(other) if kept else min(some, len(other))
        if kept and other and other == tokens[: cells[9]][: len(other)]:
            spare.add(seq)
        if len(tokens) <= cells[seq] and other[: len(tokens)] == tokens:
            covering.append(seq)
    assert set(made.spare(9)) == spare
    if tokens:
        made.keep(9, tokens)
        cells[9] = len(tokens)
        assert made.covered(9) == bool(covering)


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
    cells: dict[int, int] = {}
    made, computing = cache(cells), []
    for seq, (tokens, some, kept, stalled) in enumerate(donors):
        (made.keep if kept else made.run)(seq, tokens)
        cells[seq] = len(tokens) if kept else min(some, max(len(tokens) - 1, 0))
        computing += [] if kept or stalled else [seq]
    limit = len(prompt) - 1
    will_be = [brute(prompt, donors[seq][0], limit) for seq in computing]
    are = [brute(prompt, tokens, min(limit, cells[s])) for s, (tokens, *_) in enumerate(donors)]
    coming = max(will_be, default=0)
    saved = coming - max(are, default=0)
    assert made.coming(prompt, computing) == (coming if saved >= WORTH else 0)


def test_nobody_waits_for_what_is_sampled() -> None:
    """A sequence that decodes is always a token ahead of its cells; that token is not awaited."""
    cells = {1: 0}
    made = cache(cells)
    live = [0] * 100
    made.run(1, live)
    prompt = [0] * 200
    assert made.coming(prompt, [1]) == 100
    for cells[1] in range(99, 120):
        assert made.coming(prompt, [1]) == 0
        live.append(0)


def test_sequence_without_cells_is_no_donor() -> None:
    made = cache({})
    made.keep(1, [1, 2, 3])
    assert made.longest([1, 2, 3, 4]) == (-1, 0)


def test_an_answer_can_be_shared_when_it_stops() -> None:
    """Till then a prompt: what is said would have to be added in every step."""
    cells = {1: 2}
    made = cache(cells)
    live = [1, 2]
    made.run(1, live)
    live.append(3)
    cells[1] = 3
    assert made.longest([1, 2, 3, 4]) == (1, 2)
    made.pause(1)
    assert made.longest([1, 2, 3, 4]) == (1, 3)
    live.append(4)
    made.keep(1, live)
    cells[1] = 4
    assert made.longest([1, 2, 3, 4, 5]) == (1, 4)


def test_least_recently_used_goes_first() -> None:
    made = cache(dict.fromkeys(range(3), 2))
    assert list(made.kept) == []
    for seq in range(3):
        made.keep(seq, [seq, seq])
    assert list(made.kept) == [0, 1, 2]
    assert made.longest([0, 0, 9]) == (0, 2)  # asking changes nothing
    assert list(made.kept) == [0, 1, 2]
    made.use(0)  # being used makes it the newest
    assert list(made.kept) == [1, 2, 0]
    made.forget(1)
    made.forget(1)
    assert list(made.kept) == [2, 0]


def test_running_sequences_are_not_evicted() -> None:
    made = cache({})
    made.run(1, [1, 2])
    made.use(1)
    assert list(made.kept) == []
    made.keep(1, [1, 2])
    assert list(made.kept) == [1]
    made.forget(1)
    assert list(made.kept) == []
