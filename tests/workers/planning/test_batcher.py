"""The plan of a step: a budget, served to decoding sequences first and shared evenly by prompts."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from workers.planning.batcher import MORE, plan, rows_of, turn


@dataclass
class Work:
    """A sequence as the batcher sees it."""

    computed: int
    lack: int
    scored: int = 1
    """Number of the lacking tokens that want a row of logits, counted from the last."""
    rank: float = 0.0

    @property
    def lacks(self) -> int:
        return self.lack

    @property
    def logits_from(self) -> int:
        return self.computed + self.lack - self.scored


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
@given(SEQUENCES, BUDGETS, BUDGETS)
def test_within_budget_and_need(sequences: list[Work], budget: int, prefill: int) -> None:
    counts = plan(sequences, budget, prefill, PLENTY)
    assert len(counts) == len(sequences)
    assert sum(counts) <= budget
    assert all(0 <= n <= work.lacks for n, work in zip(counts, sequences, strict=True))
    prompts = [(n, w.lacks) for n, w in zip(counts, sequences, strict=True) if w.lacks > 1]
    assert sum(n for n, _ in prompts) <= prefill + prefill // MORE
    if sum(n for n, _ in prompts) > prefill:
        assert all(n in (0, lacks) for n, lacks in prompts), "more only to have it all"


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS, BUDGETS)
def test_decoding_comes_first(sequences: list[Work], budget: int, prefill: int) -> None:
    """A long prompt never costs a running stream its token."""
    counts = plan(sequences, budget, prefill, PLENTY)
    decoding = [n for n, work in zip(counts, sequences, strict=True) if work.lacks == 1]
    served = min(budget, len(decoding))
    assert decoding == [1] * served + [0] * (len(decoding) - served)


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS)
def test_nothing_is_wasted(sequences: list[Work], budget: int) -> None:
    counts = plan(sequences, budget, budget, PLENTY)
    assert sum(counts) == min(budget, sum(work.lacks for work in sequences))


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS, BUDGETS, st.integers(1, 40))
def test_a_small_part_is_not_begun_beside_others(
    sequences: list[Work], budget: int, prefill: int, least: int
) -> None:
    """It would be a pass of its own. The first prompt always gets on."""
    counts = plan(sequences, budget, prefill, PLENTY, least)
    prompts = [(n, w.lacks) for n, w in zip(counts, sequences, strict=True) if w.lacks > 1]
    assert all(n in (0, lacks) or n >= least for n, lacks in prompts[1:])
    assert not prompts or prompts[0][0] or min(prefill, budget) == 0 or sum(counts) == budget


def test_a_little_more_is_given_to_have_it_all() -> None:
    """A few tokens that are left over would be a step of their own, and a later first token."""
    assert plan([Work(0, 72), Work(0, 50)], 512, 64, PLENTY) == [72, 0]
    assert plan([Work(0, 73), Work(0, 50)], 512, 64, PLENTY) == [64, 0]
    assert plan([Work(0, 40), Work(0, 32)], 512, 64, PLENTY) == [40, 32]
    assert plan([Work(0, 72)], 70, 64, PLENTY) == [64], "a step holds no more"
    assert plan([Work(0, 72, 72)], 512, 64, 66) == [64], "nor has it more rows"
    assert plan([Work(0, 61)] * 3, 512, 80, PLENTY, 32) == [61, 0, 0]
    assert plan([Work(0, 61)] * 3, 512, 80, PLENTY, 19) == [61, 19, 0]


@settings(max_examples=120, deadline=None)
@given(SEQUENCES, BUDGETS, BUDGETS)
def test_prompts_are_served_in_order(sequences: list[Work], budget: int, prefill: int) -> None:
    """A sequence that gets less than it lacks is the last that gets anything."""
    counts = plan(sequences, budget, prefill, PLENTY)
    prompts = [(n, w.lacks) for n, w in zip(counts, sequences, strict=True) if w.lacks > 1]
    short = [index for index, (got, lacks) in enumerate(prompts) if got < lacks]
    if short:
        assert all(got == 0 for got, _ in prompts[short[0] + 1 :])


def test_short_prompts_leave_the_rest_to_the_long_ones() -> None:
    works = [Work(0, 10), Work(5, 1), Work(0, 1000), Work(9, 1)]
    assert plan(works, 512, 512, PLENTY) == [10, 1, 500, 1]
    assert plan(works, 512, 100, PLENTY) == [10, 1, 90, 1]


def test_budget_smaller_than_the_prompts() -> None:
    assert plan([Work(0, 5)] * 4, 3, 3, PLENTY) == [3, 0, 0, 0]
    assert plan([], 512, 512, PLENTY) == []
    assert plan([Work(0, 5), Work(1, 1)], 0, 0, PLENTY) == [0, 0]


# ------------------------------------------------------------------ whose turn it is

PER_TOKEN_S = 0.01


def prompt_s(tokens: int, depth: int) -> float:
    return PER_TOKEN_S * tokens


def test_short_ones_pass_a_long_one() -> None:
    """Ten prompts that come right after a long one do not wait for it."""
    long = Work(0, 4000, rank=0.0)
    short = [Work(0, 50, rank=0.1 * i) for i in range(1, 11)]
    by_turn = sorted([long, *short], key=lambda work: turn(work, prompt_s))
    assert by_turn == [*short, long]


def test_equals_are_served_as_they_came() -> None:
    works = [Work(0, 50, rank=rank) for rank in (3.0, 1.0, 2.0)]
    by_turn = sorted(works, key=lambda work: turn(work, prompt_s))
    assert [work.rank for work in by_turn] == [1.0, 2.0, 3.0]


def test_what_is_computed_counts_no_more() -> None:
    begun = Work(3990, 10, rank=1.0)
    assert turn(begun, prompt_s) < turn(Work(0, 50, rank=0.9), prompt_s)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 60), st.integers(100, 2000), st.floats(0.5, 1.5))
def test_nobody_starves(short: int, long: int, pressure: float) -> None:
    """Short prompts that keep coming delay a long one by its own length, and no more.

    They fill the machine (``pressure`` 1), or more than that.
    """
    works = [Work(0, long, rank=0.0)]
    pending = works[0]
    now, arrived = 0.0, 0
    while pending.lacks:
        while arrived * short * PER_TOKEN_S / pressure <= now:
            works.append(Work(0, short, rank=arrived * short * PER_TOKEN_S / pressure))
            arrived += 1
        first = min((w for w in works if w.lacks), key=lambda w: turn(w, prompt_s))
        first.computed += 1
        first.lack -= 1
        now += PER_TOKEN_S
        # Those that may pass it came before its own length was over, and were begun by then.
        own = long * PER_TOKEN_S
        assert now <= own * (1 + max(1.0, pressure)) + short * PER_TOKEN_S + 1e-6


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
    counts = plan(sequences, budget, budget, rows)
    assert sum(counts) <= budget
    assert all(0 <= n <= work.lacks for n, work in zip(counts, sequences, strict=True))
    assert sum(rows_of(work, n) for n, work in zip(counts, sequences, strict=True)) <= rows


@settings(max_examples=200, deadline=None)
@given(SCORED, st.integers(1, 100), st.integers(1, 60))
def test_somebody_gets_on(sequences: list[Work], budget: int, rows: int) -> None:
    assert sum(plan(sequences, budget, budget, rows)) > 0 or not sequences


def test_scored_prompts_share_the_rows() -> None:
    """100 rows: one for each that decodes or has a plain prompt, the rest for the others."""
    works = [Work(9, 1), Work(0, 300), Work(0, 200, 199), Work(0, 200, 199), Work(0, 10, 9)]
    assert plan(works, 1000, 1000, 100) == [1, 300, 45, 46, 10]
    assert plan(works, 400, 400, 100) == [1, 300, 45, 46, 8]


@settings(max_examples=200, deadline=None)
@given(SCORED, SEQUENCES)
def test_a_scored_prompt_takes_nobody_the_only_row(scored: list[Work], others: list[Work]) -> None:
    """With a row for each sequence, all who want one row get it."""
    counts = plan(scored + others, 1000, 1000, len(scored) + len(others))
    assert counts[len(scored) :] == [work.lacks for work in others]
