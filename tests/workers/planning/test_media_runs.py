"""Cells and positions of media: laws against a list of every token's position."""

from hypothesis import given
from hypothesis import strategies as st

from workers.planning.media_runs import Run, Runs, pseudo_tokens

PIECES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.booleans()), max_size=4
)


def laid_out(pieces: list[tuple[int, int, int, bool]]) -> tuple[Runs, list[int]]:
    """The runs, and the position of each token: text, then a flat run or a picture w x h."""
    runs, positions, at = list[Run](), list[int](), 0
    for text, width, height, flat in pieces:
        positions += range(at, at + text)
        at += text
        rows = width * height
        taken = rows if flat else max(width, height)
        start = len(positions)
        runs.append(Run(start, start + rows, taken))
        positions += [at + i if taken == rows else at for i in range(rows)]
        at += taken
    positions += range(at, at + 3)
    return Runs(runs), positions


@given(PIECES)
def test_positions(pieces: list[tuple[int, int, int, bool]]) -> None:
    runs, positions = laid_out(pieces)
    assert [runs.position(count) for count in range(len(positions))] == positions
    assert runs.position(len(positions)) == positions[-1] + 1


@given(PIECES)
def test_the_memory_reaches_to_the_largest_position(
    pieces: list[tuple[int, int, int, bool]],
) -> None:
    runs, positions = laid_out(pieces)
    for count in range(len(positions) + 1):
        assert runs.reach(count) == max(positions[:count], default=-1) + 1


@given(PIECES)
def test_no_part_of_a_run_is_shared(pieces: list[tuple[int, int, int, bool]]) -> None:
    runs, positions = laid_out(pieces)
    for count in range(len(positions) + 1):
        whole = runs.whole(count)
        assert whole <= count
        assert not any(run.start < whole < run.end for run in runs)
        assert not any(whole < run.end <= count for run in runs), "and all that can be is"


def test_pseudo_tokens_are_no_tokens_and_tell_media_apart() -> None:
    one = pseudo_tokens("one", 64)
    assert all(-(2**31) <= token < 0 for token in one)
    assert one == pseudo_tokens("one", 64)
    assert not set(one) & set(pseudo_tokens("two", 64))
    assert len(set(one)) == 64
