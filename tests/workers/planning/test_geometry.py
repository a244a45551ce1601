"""The division of cells that is chosen for sequences."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.planning.geometry import CELLS, EXCESS, Geometries, Geometry, Unified

NEEDS = st.lists(st.integers(1, 40_000), max_size=12)
made = st.builds(
    Geometries, st.integers(1, 64), st.integers(1, 40_000), st.sampled_from(["auto", "on", "off"])
)


def all_of(geometries: Geometries) -> list[Geometry]:
    unified = [] if geometries._unified is None else [geometries._unified]
    return [*geometries._streams, *unified]


@given(made, NEEDS)
def test_the_chosen_one_holds_the_longest(geometries: Geometries, needs: list[int]) -> None:
    """Alone it has as many cells as there are."""
    chosen = geometries.choose(needs)
    assert chosen in all_of(geometries)
    assert chosen.cells >= min(max(needs, default=0), geometries.longest)


@given(made, NEEDS)
def test_it_holds_as_many_as_any_other_does(geometries: Geometries, needs: list[int]) -> None:
    """Of those that hold the longest; and with streams alone there may be no better one."""
    needs = [min(need, geometries.longest) for need in needs]
    chosen = geometries.choose(needs)
    able = [g for g in all_of(geometries) if g.cells >= max(needs, default=0)]
    assert chosen.holds(needs) == max(g.holds(needs) for g in able)
    if chosen.unified:
        assert all(chosen.holds(needs) > g.holds(needs) for g in able if not g.unified)


@given(st.integers(1, 64), st.integers(1, 40_000), st.sampled_from(["auto", "on", "off"]))
def test_cells_are_those_that_llama_cpp_makes(slots: int, n_ctx: int, unified: Unified) -> None:
    geometries = Geometries(slots, n_ctx, unified)
    assert n_ctx <= geometries.longest < n_ctx + CELLS
    for geometry in all_of(geometries):
        assert geometry.cells % CELLS == 0
        assert 1 <= geometry.sequences <= slots
        assert n_ctx <= geometry.total <= EXCESS * geometries.longest
    kinds = {geometry.unified for geometry in all_of(geometries)}
    assert kinds == {"auto": {True, False}, "on": {True}, "off": {False}}[unified]


@given(st.integers(1, 64), st.integers(1, 40_000))
def test_the_base_serves_all_slots(slots: int, n_ctx: int) -> None:
    """By streams, unless rounding makes them too large."""
    geometries = Geometries(slots, n_ctx)
    base, cells = geometries.base, CELLS * -(-n_ctx // (slots * CELLS))
    assert base.sequences == slots
    assert base.unified == (slots * cells > EXCESS * geometries.longest)


@given(st.integers(1, 16), st.integers(1, 5000), st.booleans(), NEEDS)
def test_holds_counts_one_by_one(
    sequences: int, cells: int, unified: bool, needs: list[int]
) -> None:
    held = 0
    for count, total in enumerate(accumulate(needs), start=1):
        fits = total <= cells if unified else max(needs[:count]) <= cells
        if fits and count <= sequences:
            held = count
    assert Geometry(sequences, cells, unified).holds(needs) == held


def test_the_example() -> None:
    geometries = Geometries(8, 32_768)
    assert geometries.base == Geometry(8, 4096, unified=False)
    assert geometries.choose([4096] * 8) == geometries.base
    mixed = [300, 300, 10_000]
    assert geometries.choose(mixed) == Geometry(8, 32_768, unified=True)
    assert Geometry(2, 16_384, unified=False).holds(mixed) == 2
    assert Geometry(4, 8192, unified=False).holds(mixed) == 2, "not the long one"
    assert geometries.choose([10_000]) == Geometry(2, 16_384, unified=False)


@pytest.mark.parametrize(
    ("slots", "n_ctx", "base"),
    [
        (8, 4096, Geometry(8, 512, unified=False)),
        (3, 1000, Geometry(3, 1024, unified=True)),  # 3 x 512 would be half as much again
        (5, 8192, Geometry(5, 1792, unified=False)),  # 8,960
        (8, 256, Geometry(8, 256, unified=True)),
        (1, 100, Geometry(1, 256, unified=False)),
    ],
)
def test_rounding(slots: int, n_ctx: int, base: Geometry) -> None:
    assert Geometries(slots, n_ctx).base == base
