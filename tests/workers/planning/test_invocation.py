"""The place from which on an activated adapter counts."""

from hypothesis import given
from hypothesis import strategies as st

from workers.planning.invocation import last_of

FEW = st.integers(0, 2)


@given(st.lists(FEW, min_size=1, max_size=4), st.lists(FEW, max_size=20))
def test_the_last_occurrence(wanted: list[int], tokens: list[int]) -> None:
    places = [at for at in range(len(tokens)) if tokens[at : at + len(wanted)] == wanted]
    assert last_of(wanted, tokens) == max(places, default=None)
