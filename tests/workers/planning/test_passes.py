"""Sequences about as long are computed together, if that pays: as llama.cpp cuts a batch."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from workers.planning.geometry import padded
from workers.planning.passes import StepPart, order, passes_of

A_PASS = 700


def passes(rows: list[StepPart]) -> list[list[StepPart]]:
    """As llama_batch_allocr::split_equal cuts a batch, if all have one token."""
    left, found = list(rows), list[list[StepPart]]()
    while left:
        group = [left.pop(0)]
        for row in list(left):
            if row.number == group[-1].number + 1:
                group.append(row)
                left.remove(row)
        found.append(group)
    return found


def cost(rows: list[StepPart]) -> int:
    """In cells that a token attends to."""
    groups = passes(rows)
    longest = [padded(max(row.cells for row in group)) for group in groups]
    return len(groups) * A_PASS + sum(
        len(group) * cells for group, cells in zip(groups, longest, strict=True)
    )


def ordered(*rows: StepPart | int, a_pass: int = A_PASS) -> list[int]:
    made = [row if isinstance(row, StepPart) else StepPart(at, row) for at, row in enumerate(rows)]
    return order(made, a_pass)


CELLS = st.lists(st.integers(1, 8000), max_size=9)


@given(CELLS)
def test_it_is_never_worse_than_the_order_of_numbers(cells: list[int]) -> None:
    rows = [StepPart(at, each) for at, each in enumerate(cells)]
    found = order(rows, A_PASS)
    assert sorted(found) == list(range(len(rows)))
    assert cost([rows[at] for at in found]) <= cost(rows)


@given(CELLS, st.integers(0, 255))
def test_no_division_is_better(cells: list[int], cuts: int) -> None:
    """Each bit of ``cuts`` begins another group."""
    rows, groups = [StepPart(at, each) for at, each in enumerate(cells)], list[list[StepPart]]()
    for row in rows:
        if not groups or cuts >> (row.number - 1) & 1:
            groups.append([])
        groups[-1].append(row)
    other = [row for group in reversed(groups) for row in group]
    assert cost([rows[at] for at in order(rows, A_PASS)]) <= cost(other)


def test_a_long_one_has_a_pass_of_its_own() -> None:
    assert ordered(300, 300, 5000) == [2, 0, 1]
    assert ordered(5000, 300, 300) == [1, 2, 0]
    assert ordered(300, 5000, 300) == [2, 1, 0]


def test_streams_about_as_long_stay_together() -> None:
    assert ordered(300, 500, 400) == [0, 1, 2]
    assert ordered(*[5000] * 8) == list(range(8))


def test_short_ones_between_long_ones() -> None:
    """A pass of its own would cost more than to attend to all cells of the others."""
    assert ordered(1000, 600, 1000, 600) == [0, 1, 2, 3]


def test_a_prompt_is_apart_from_streams_that_are_longer() -> None:
    """The rest of it has a pass anyway."""
    assert ordered(3000, 3000, StepPart(2, 300, 64)) == [2, 0, 1]
    assert ordered(300, 300, StepPart(2, 3000, 64)) == [2, 0, 1]


def test_holes_between_numbers() -> None:
    """Of sequences that sit a step out: there llama.cpp begins a pass anyway."""
    rows = [StepPart(0, 300), StepPart(1, 300), StepPart(4, 5000), StepPart(5, 5000)]
    assert order(rows, A_PASS) == [2, 3, 0, 1]
    found = order([StepPart(0, 300), StepPart(2, 5000), StepPart(3, 300)], A_PASS)
    assert all(rows[a].number + 1 != rows[b].number for a, b in pairwise(found) if a > b)


def test_where_it_does_not_matter_the_order_stays() -> None:
    assert ordered(300, 300, 5000, a_pass=0) == [0, 1, 2]
    assert ordered() == []
    assert ordered(300) == [0]


def split(rows: list[tuple[int, int]]) -> int:
    """Count as llama_batch_allocr::split_equal does, token by token."""
    tokens = [number for number, count in rows for _ in range(count)]
    used, made = [False] * len(tokens), 0
    while not all(used):
        sequences = list[int]()
        for number in (n for n, done in zip(tokens, used, strict=True) if not done):
            if number not in sequences and (not sequences or number == sequences[-1] + 1):
                sequences.append(number)
        while all(
            any(n == number and not done for n, done in zip(tokens, used, strict=True))
            for number in sequences
        ):
            for number in sequences:
                at = next(i for i, n in enumerate(tokens) if n == number and not used[i])
                used[at] = True
        made += 1
    return made


@given(st.permutations(range(7)), st.lists(st.integers(1, 5), max_size=6))
def test_passes_are_counted_as_llama_cpp_makes_them(numbers: list[int], tokens: list[int]) -> None:
    rows = list(zip(numbers, tokens, strict=False))
    assert passes_of([StepPart(number, 100, count) for number, count in rows]) == split(rows)


def test_equal_prompts_share_a_pass() -> None:
    def passes_with(*tokens: int) -> int:
        return passes_of([StepPart(at, 100, count) for at, count in enumerate(tokens)])

    assert passes_with(1, 1, 1) == passes_with(61, 61) == 1
    assert passes_with(1, 1, 64) == 2, "streams and a prompt"
    assert passes_with(61, 61, 38) == 2
    assert passes_with(2, 61, 1) == 3
    assert passes_with() == 0
