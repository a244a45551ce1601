"""The plan of a step: a budget, served to decoding sequences first and shared evenly by prompts."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.batcher import plan


@dataclass(frozen=True)
class Work:
    """A sequence as the batcher sees it."""

    computed: int
    lack: int

    @property
    def known(self) -> int:
        return self.computed + self.lack


SEQUENCES = st.lists(
    st.builds(Work, st.integers(0, 50), st.one_of(st.just(1), st.integers(1, 40))), max_size=12
)
BUDGETS = st.integers(0, 100)


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_within_budget_and_need(sequences: list[Work], budget: int) -> None:
    counts = plan(sequences, budget)
    assert len(counts) == len(sequences)
    assert sum(counts) <= budget
    assert all(0 <= n <= work.lack for n, work in zip(counts, sequences, strict=True))


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_decoding_comes_first(sequences: list[Work], budget: int) -> None:
    """A long prompt never costs a running stream its token."""
    counts = plan(sequences, budget)
    decoding = [n for n, work in zip(counts, sequences, strict=True) if work.lack == 1]
    served = min(budget, len(decoding))
    assert decoding == [1] * served + [0] * (len(decoding) - served)


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_nothing_is_wasted(sequences: list[Work], budget: int) -> None:
    counts = plan(sequences, budget)
    assert sum(counts) == min(budget, sum(work.lack for work in sequences))


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_prompts_share_evenly(sequences: list[Work], budget: int) -> None:
    """Whoever lacks tokens still has at least what any other prompt got, but for rounding."""
    counts = plan(sequences, budget)
    prompts = [(n, w.lack) for n, w in zip(counts, sequences, strict=True) if w.lack > 1]
    for got, lack in prompts:
        if got < lack:
            assert all(other <= got + 1 for other, _ in prompts)
        # A longer prompt is never served less for being long.
        assert all(other >= got for other, needed in prompts if needed > lack)


def test_plan_depends_on_what_is_lacking_alone() -> None:
    assert plan([Work(0, 10), Work(100, 10)], 10) == [5, 5]


def test_short_prompts_leave_their_share_to_the_long_ones() -> None:
    works = [Work(0, 1000), Work(5, 1), Work(0, 10), Work(9, 1)]
    assert plan(works, 512) == [500, 1, 10, 1]


def test_budget_smaller_than_the_prompts() -> None:
    assert sum(plan([Work(0, 5)] * 4, 3)) == 3
    assert plan([], 512) == []
    assert plan([Work(0, 5), Work(1, 1)], 0) == [0, 0]
