"""The plan of a step: a budget, served to decoding sequences first and shared evenly by prompts."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.batcher import plan, rows_of


@dataclass(frozen=True)
class Work:
    """A sequence as the batcher sees it."""

    computed: int
    lack: int
    scored: int = 1
    """How many of the lacking tokens want a row of logits, counted from the last."""

    @property
    def known(self) -> int:
        return self.computed + self.lack

    @property
    def logits_from(self) -> int:
        return self.known - self.scored


SEQUENCES = st.lists(
    st.builds(Work, st.integers(0, 50), st.one_of(st.just(1), st.integers(1, 40))), max_size=12
)
SCORED = st.lists(
    st.builds(Work, st.integers(0, 50), st.integers(1, 40), st.integers(1, 40)), max_size=12
)
BUDGETS = st.integers(0, 100)
PLENTY = 100
"""Rows of logits for all."""


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_within_budget_and_need(sequences: list[Work], budget: int) -> None:
    counts = plan(sequences, budget, PLENTY)
    assert len(counts) == len(sequences)
    assert sum(counts) <= budget
    assert all(0 <= n <= work.lack for n, work in zip(counts, sequences, strict=True))


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_decoding_comes_first(sequences: list[Work], budget: int) -> None:
    """A long prompt never costs a running stream its token."""
    counts = plan(sequences, budget, PLENTY)
    decoding = [n for n, work in zip(counts, sequences, strict=True) if work.lack == 1]
    served = min(budget, len(decoding))
    assert decoding == [1] * served + [0] * (len(decoding) - served)


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_nothing_is_wasted(sequences: list[Work], budget: int) -> None:
    counts = plan(sequences, budget, PLENTY)
    assert sum(counts) == min(budget, sum(work.lack for work in sequences))


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_prompts_share_evenly(sequences: list[Work], budget: int) -> None:
    """Whoever lacks tokens still has at least what any other prompt got, but for rounding."""
    counts = plan(sequences, budget, PLENTY)
    prompts = [(n, w.lack) for n, w in zip(counts, sequences, strict=True) if w.lack > 1]
    for got, lack in prompts:
        if got < lack:
            assert all(other <= got + 1 for other, _ in prompts)
        # A longer prompt is never served less for being long.
        assert all(other >= got for other, needed in prompts if needed > lack)


def test_plan_depends_on_what_is_lacking_alone() -> None:
    assert plan([Work(0, 10), Work(100, 10)], 10, PLENTY) == [5, 5]


def test_short_prompts_leave_their_share_to_the_long_ones() -> None:
    works = [Work(0, 1000), Work(5, 1), Work(0, 10), Work(9, 1)]
    assert plan(works, 512, PLENTY) == [500, 1, 10, 1]


def test_budget_smaller_than_the_prompts() -> None:
    assert sum(plan([Work(0, 5)] * 4, 3, PLENTY)) == 3
    assert plan([], 512, PLENTY) == []
    assert plan([Work(0, 5), Work(1, 1)], 0, PLENTY) == [0, 0]


# ------------------------------------------------------------------ rows of logits


def test_rows_are_those_after_the_last_tokens() -> None:
    work = Work(10, 5, scored=2)
    assert [rows_of(work, count) for count in range(6)] == [0, 0, 0, 0, 1, 2]
    # Cells that were lost are computed again, but what was found out by them is known.
    assert [rows_of(Work(0, 5, scored=5), count) for count in (0, 3, 5)] == [0, 3, 5]
    assert rows_of(Work(8, 2, scored=6), 2) == 2, "no more rows than tokens"


@settings(max_examples=200, deadline=None)
@given(SCORED, BUDGETS, st.integers(0, 60))
def test_rows_are_a_budget(sequences: list[Work], budget: int, rows: int) -> None:
    counts = plan(sequences, budget, rows)
    assert sum(counts) <= budget
    assert all(0 <= n <= work.lack for n, work in zip(counts, sequences, strict=True))
    assert sum(rows_of(work, n) for n, work in zip(counts, sequences, strict=True)) <= rows


@settings(max_examples=200, deadline=None)
@given(SCORED, st.integers(1, 100), st.integers(1, 60))
def test_somebody_gets_on(sequences: list[Work], budget: int, rows: int) -> None:
    assert sum(plan(sequences, budget, rows)) > 0 or not sequences


@settings(max_examples=200, deadline=None)
@given(SCORED, SEQUENCES, BUDGETS)
def test_scored_prompts_cost_the_others_nothing(
    scored: list[Work], others: list[Work], budget: int
) -> None:
    """With a row for each sequence, nobody who wants one row gets less than if all wanted one."""
    everybody = len(scored) + len(others)
    plain = [Work(work.computed, work.lack) for work in scored]
    with_scored = plan(scored + others, budget, everybody)[len(scored) :]
    with_plain = plan(plain + others, budget, everybody)[len(scored) :]
    assert all(a >= b - 1 for a, b in zip(with_scored, with_plain, strict=True)), "but for rounding"


def test_scored_prompts_share_the_rows() -> None:
    """100 rows: one for each that decodes or has a plain prompt, the rest for the others."""
    works = [Work(9, 1), Work(0, 300), Work(0, 200, 199), Work(0, 200, 199), Work(0, 10, 9)]
    assert plan(works, 1000, 100) == [1, 300, 45, 46, 10]
    assert plan(works, 100, 100) == [1, 30, 29, 30, 10]
