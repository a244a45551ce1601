"""Chunks of prompts follow from what steps took: on machines whose steps are known."""

import math
import random
from collections.abc import Callable

import pytest

from workers.planning.step_budget import (
    APART,
    AUTO_MS,
    AUTO_MULTIPLE,
    BACKLOG_MS,
    BACKLOG_SHARE,
    BLOCK,
    DEEP,
    FIRST_CHUNK,
    LONGEST_MS,
    NEARLY,
    TILE,
    UNNOTICED_MS,
    WORTHWHILE,
    Backlog,
    StepBudget,
)
from workers.planning.step_times import REFIT, Costs, StepTimes
from workers.protocol import Patience

Machine = Callable[[int, int], float]
"""Milliseconds of a step with so many decoding sequences and prompt tokens."""


def passes(decodes: int, prefill: int) -> int:
    """Of llama.cpp: the streams', and the prompt's."""
    return (decodes > 0) + (prefill > 0) or 1


def slow(decodes: int, prefill: int) -> float:
    """About a model of 1B on two cores: 110 tokens a second, however they are batched."""
    return 20 * passes(decodes, prefill) + 9.3 * decodes + 9 * prefill


def quick(decodes: int, prefill: int) -> float:
    """About the embedded model."""
    return 0.5 * passes(decodes, prefill) + 0.3 * decodes + 0.05 * prefill


def wide(decodes: int, prefill: int) -> float:
    """About a model of 1B whose steps with streams are kept narrow."""
    return 25 * passes(decodes, prefill) + 5.5 * decodes + 2.9 * prefill


def serve(budget: StepBudget, machine: Machine, decodes: int, prompts: int, steps: int) -> float:
    """A prompt without end beside ``decodes`` streams: how long the last step took."""
    ms = 0.0
    for _ in range(steps):
        prefill = budget.prefill(decodes, Backlog(prompts))
        ms = machine(decodes, prefill)
        budget.learn(decodes, prefill, ms)
    return ms


@pytest.mark.parametrize("machine", [slow, quick])
def test_the_costs_are_found(machine: Machine) -> None:
    times = StepTimes()
    for decodes in range(1, 9):
        for prefill in (0, 16, 64):
            times.add(decodes, prefill, machine(decodes, prefill))
    base, decode, prefill_ms, read = times.fit()
    assert read == 0
    assert base == pytest.approx(machine(0, 0), rel=0.1)
    assert decode == pytest.approx(machine(1, 0) - machine(0, 0), rel=0.1)
    assert prefill_ms == pytest.approx(machine(0, 1) - machine(0, 0), rel=0.1)


def test_noise_and_outliers_do_not_mislead_it() -> None:
    dice = random.Random(1)
    times = StepTimes()
    for _ in range(200):
        decodes, prefill = dice.randint(1, 32), dice.choice((0, 8, 64))
        ms = slow(decodes, prefill) * dice.uniform(0.9, 1.1) * dice.choice([1.0] * 30 + [2.0])
        times.add(decodes, prefill, ms)
    base, decode, prefill_ms, _ = times.fit()
    assert base + 16 * decode + 64 * prefill_ms == pytest.approx(slow(16, 64), rel=0.2)


def test_a_fit_stays_where_all_steps_are_alike() -> None:
    """The cost of a prompt's token is not forgotten while none is computed."""
    budget = StepBudget(512)
    serve(budget, slow, 4, 1, 30)
    before = budget.prefill(8, Backlog(1))
    for _ in range(1000):
        budget.learn(8, 0, slow(8, 0))
    assert budget.prefill(8, Backlog(1)) == pytest.approx(before, rel=0.3)


@pytest.mark.parametrize("decodes", [1, 8, 32])
@pytest.mark.parametrize("target", [400.0, 2000.0])
def test_the_gap_stays_under_a_target(decodes: int, target: float) -> None:
    ms = serve(StepBudget(512, Patience(0.0, target)), slow, decodes, 1, 50)
    assert slow(decodes, 1) < ms <= max(target, 1.3 * slow(decodes, 0))
    assert ms > 0.6 * min(target, slow(decodes, 512 - decodes)), "and uses what it allows"


def test_automatically_it_is_a_small_multiple_of_a_step_without_prompts() -> None:
    ms = serve(StepBudget(512), slow, 8, 1, 50)
    assert 2 * slow(8, 0) < ms <= AUTO_MULTIPLE * slow(9, 0)


def test_small_models_are_not_slowed_by_it() -> None:
    """20 tokens a second are smooth enough."""
    ms = serve(StepBudget(2048), quick, 1, 1, 50)
    assert AUTO_MS / 2 < ms <= AUTO_MS


def test_prompts_that_will_be_streams_may_cost_as_much_as_those() -> None:
    """Else a few streams that run would keep all the others waiting for their first token."""
    alone, many = StepBudget(512), StepBudget(512)
    serve(alone, slow, 4, 1, 50)
    serve(many, slow, 4, 28, 50)
    assert many.prefill(4, Backlog(28)) > 3 * alone.prefill(4, Backlog(1))


def test_prompts_get_on_under_a_target_that_nothing_can_keep() -> None:
    budget = StepBudget(512, Patience(0.0, 1.0))
    serve(budget, slow, 8, 1, 50)
    assert budget.prefill(8, Backlog(1)) >= 1
    assert serve(budget, slow, 8, 1, 1) > 1.1 * slow(8, 0)


def test_it_adapts_when_the_machine_gets_slower() -> None:
    budget = StepBudget(512, Patience(0.0, 500.0))
    serve(budget, slow, 8, 1, 50)

    def slower(decodes: int, prefill: int) -> float:
        return 2 * slow(decodes, prefill)

    assert serve(budget, slower, 8, 1, 100) <= 500


def test_steps_without_streams_are_bounded_too() -> None:
    """A request that comes while a long prompt is computed waits for its step."""
    assert serve(StepBudget(4096), slow, 0, 1, 20) <= LONGEST_MS

    def glacier(decodes: int, prefill: int) -> float:
        return 1000.0 * (1 + decodes + prefill)

    budget = StepBudget(512)
    serve(budget, glacier, 0, 1, 20)
    assert budget.prefill(0, Backlog(1)) == WORTHWHILE


def test_the_first_chunk_is_small_and_all_fit_the_batch() -> None:
    budget = StepBudget(128)
    assert budget.prefill(0, Backlog(1)) == FIRST_CHUNK
    assert budget.prefill(126, Backlog(1)) == 2
    assert budget.prefill(128, Backlog(1)) == 1
    serve(budget, quick, 0, 1, 10)
    assert budget.prefill(0, Backlog(1)) == 128
    assert StepBudget(32).prefill(0, Backlog(1)) == 32


def test_steps_are_made_of_whole_blocks() -> None:
    """Beside streams the first token of a prompt is computed with theirs, the rest by itself."""
    budget = StepBudget(512, Patience(0.0, 500.0))
    serve(budget, slow, 4, 1, 20)
    steps = {decodes: budget.prefill(decodes, Backlog(1)) for decodes in range(33)}
    whole = [n for n, tokens in steps.items() if (tokens - min(n, 1)) % BLOCK == 0]
    assert whole[:16] == list(range(16))
    assert all(tokens > 0 for tokens in steps.values())


def deep(decodes: int, prefill: int, depth: int = 0) -> float:
    """About a model of 135M on two cores, whose prompt has ``depth`` tokens already."""
    return (
        10 * passes(decodes, prefill)
        + 4.5 * decodes
        + prefill * (2.8 + 0.0009 * (depth + prefill / 2))
    )


def document(budget: StepBudget, decodes: int, tokens: int, prompts: int = 1) -> list[float]:
    """Return the milliseconds of each step of a prompt of so many tokens."""
    depth, took = 0, list[float]()
    while depth < tokens:
        count = min(
            tokens - depth, budget.prefill(decodes, Backlog(prompts, depth, prompts * tokens))
        )
        took.append(deep(decodes, count, depth))
        budget.learn(decodes, count, took[-1], count * (depth + count / 2))
        depth += count
    return took


def used_to(decodes: int) -> StepBudget:
    """A budget that has seen prompts of many lengths."""
    budget = StepBudget(2048)
    for tokens in (100, 2000, 50, 1000):
        document(budget, 0, tokens)
        document(budget, decodes, tokens)
        budget.learn(decodes, 0, deep(decodes, 0))
    return budget


def test_what_a_prompt_has_already_costs_time_too() -> None:
    """Its later parts are smaller, so that the steps take as long as the first."""
    budget = StepBudget(2048, Patience(0.0, 400.0))
    document(budget, 4, 3000)
    assert all(250 < ms < 440 for ms in document(budget, 4, 3000)[:-1])
    first, last = (budget.prefill(4, Backlog(1, depth)) for depth in (0, 2500))
    assert last < 0.7 * first


def test_a_step_has_a_whole_tile_of_a_prompt_if_that_is_quick() -> None:
    """Short prompts, for which streams would wait less if the step were narrow."""
    budget = used_to(4)
    tile = budget.prefill(4, Backlog(1, 0, 100))
    assert tile == TILE + 1
    assert deep(4, tile) < UNNOTICED_MS
    assert budget.prefill(30, Backlog(1, 0, 100)) > TILE + 1, "three steps of 30 are longer"
    slower = StepBudget(512)
    serve(slower, slow, 2, 1, 50)
    assert slower.prefill(2, Backlog(1)) < TILE, "which would take half a second"


def test_most_of_a_tile_is_a_whole_one_after_many_tokens() -> None:
    """Token by token, most of one takes as long; without flash attention there are no tiles."""

    def machine(decodes: int, prefill: int) -> float:
        return 20 * passes(decodes, prefill) + 30.0 * decodes + 13.5 * prefill

    def tokens(depth: int, target: float | None = None, *, tiles: bool = True) -> int:
        budget = StepBudget(512, Patience(0.0, target), tiles=tiles)
        serve(budget, machine, 5, 1, 50)
        for _ in range(REFIT):
            budget.learn(5, 0, machine(5, 0))
        return budget.prefill(5, Backlog(1, depth, 100))

    most = tokens(0)
    assert NEARLY * TILE < most < TILE
    assert tokens(DEEP) == TILE + 1
    assert tokens(DEEP - 1) == tokens(DEEP, tiles=False) == most
    assert tokens(DEEP, 600.0) <= TILE, "a target that is given holds"
    assert tokens(DEEP, 200.0) < NEARLY * TILE


def test_what_goes_unnoticed_is_used_to_the_full() -> None:
    """A first token is waited for, a gap of 225 ms is not seen: a tile of 65 would take longer."""

    def machine(decodes: int, prefill: int) -> float:
        return 5.4 * passes(decodes, prefill) + 4.2 * (decodes + prefill)

    budget = StepBudget(512)
    serve(budget, machine, 2, 1, 50)
    assert machine(2, TILE + 1) > UNNOTICED_MS
    one = machine(2, budget.prefill(2, Backlog(1, 0, 100)))
    assert 0.6 * UNNOTICED_MS < one <= UNNOTICED_MS
    few = machine(2, budget.prefill(2, Backlog(1, 0, 5)))
    assert few < 0.6 * one, "a multiple of a step of streams, for more need no tokens"
    many = machine(2, budget.prefill(2, Backlog(10, 0, 1000)))
    assert UNNOTICED_MS < many < BACKLOG_SHARE * machine(0, 1000)


def test_long_prompts_have_wider_steps_and_many_do() -> None:
    narrow, long = (max(document(used_to(4), 4, n)[:-1]) for n in (130, 1500))
    many = max(document(used_to(4), 4, 1500, prompts=6)[:-1])
    assert narrow < UNNOTICED_MS
    assert UNNOTICED_MS < long <= BACKLOG_SHARE * (sum(document(used_to(0), 0, 1500)) + 200)
    assert long < many <= BACKLOG_MS


@pytest.mark.parametrize(
    "costs", [Costs(), Costs(1500, 0, 0, 0.01), Costs(1, 0, 2), Costs(1, 0, 2, 0.1)]
)
@pytest.mark.parametrize("ms", [-500.0, 0.0, 1e-12, 1.0, 1e9])
@pytest.mark.parametrize("depth", [0, 4000])
def test_tokens_are_found_for_any_time(costs: Costs, ms: float, depth: int) -> None:
    found = costs.tokens(ms, depth)
    if ms <= 0:
        assert found == 0
    elif costs == Costs():
        assert found == math.inf
    else:
        assert costs.prompt(found, depth) == pytest.approx(ms)


def test_a_machine_whose_steps_take_a_second_goes_on() -> None:
    """Short prompts at great depth leave the fit a token that costs nothing by itself."""
    for seed in range(60):
        dice, budget = random.Random(seed), StepBudget(512)
        for _ in range(64):
            count, depth = dice.randint(2, 12), dice.randint(1500, 4000)
            ms = (1500 + 40 * count) * dice.uniform(0.9, 1.1)
            budget.learn(0, count, ms, count * (depth + count / 2))
        assert budget.prefill(0, Backlog(1, 0, 500)) == WORTHWHILE


def test_a_given_target_holds_however_much_waits() -> None:
    budget = StepBudget(2048, Patience(0.0, 100.0))
    document(budget, 4, 2000, prompts=8)
    assert max(document(budget, 4, 2000, prompts=8)) <= 110


BY_CLASS = (Patience(0.0, 500.0), Patience(1.0, None), Patience(2.0, 20.0))
RESTING = (Patience(0.0, None, 10_000.0), Patience(1.0, None))


def learned(machine: Machine) -> StepBudget:
    budget = StepBudget(8192, *BY_CLASS)
    for decodes in range(5):
        for prefill in (0, 16, 64, 256):
            budget.learn(decodes, prefill, machine(decodes, prefill))
    return budget


@pytest.mark.parametrize(
    ("urgency", "target"),
    [(-3.0, 500.0), (0.0, 500.0), (0.9, 500.0), (1.0, 50.0), (2.0, 20.0), (7.5, 20.0)],
)
def test_the_least_patient_stream_decides(urgency: float, target: float) -> None:
    """Streams of the batch class alone get wide steps."""
    prefill = learned(quick).prefill(2, Backlog(1), urgency)
    assert target / 2 < quick(2, prefill) <= target


def test_a_wide_step_is_not_begun_where_a_less_patient_prompt_waits() -> None:
    """But that prompt has all of it, if it needs that much."""
    budget = learned(quick)
    wide, narrow = budget.prefill(2, Backlog(2), 0.0), budget.prefill(2, Backlog(2), 1.0)
    assert budget.prefill(2, Backlog(2), 0.0, lambda priority: 40 if priority == 1 else 0) == narrow
    needed = narrow + 1600
    much = budget.prefill(2, Backlog(2), 0.0, lambda priority: needed if priority == 1 else 0)
    assert narrow < needed - BLOCK < much <= needed < wide
    assert (
        budget.prefill(2, Backlog(2), 0.0, lambda priority: 10**6 if priority == 1 else 0) == wide
    )


def test_prompts_as_patient_as_the_streams_change_nothing() -> None:
    budget = learned(quick)
    same = budget.prefill(2, Backlog(2), 1.0, lambda priority: 1000 if priority <= 1 else 0)
    assert same == budget.prefill(2, Backlog(2), 1.0)


def test_patient_streams_rest_until_their_time_is_over() -> None:
    budget = StepBudget(512, *RESTING)
    assert budget.rests(-1.0)
    assert budget.rests(0.5)
    assert not budget.rests(1.0), "one less patient stream is enough"
    for _ in range(9):
        budget.rested(1000.0)
    assert budget.rests(0.0)
    budget.rested(1000.0)
    assert not budget.rests(0.0)
    budget.rested(0.0)
    assert budget.rests(0.0), "they had a token, and begin anew"
    assert not StepBudget(512, *BY_CLASS).rests(0.0), "a target that is given is kept"


def test_steps_are_as_wide_beside_resting_streams_as_without() -> None:
    budget = StepBudget(2048, *RESTING)
    for decodes in range(5):
        for prefill in (0, 16, 64, 256):
            budget.learn(decodes, prefill, slow(decodes, prefill))
    wide = budget.prefill(2, Backlog(1), 0.0, resting=True)
    assert wide == budget.prefill(0, Backlog(1)) > 2 * budget.prefill(2, Backlog(1), 0.0)
    few = budget.prefill(2, Backlog(1), 0.0, lambda priority: int(priority == 1.0), resting=True)
    assert few == budget.prefill(2, Backlog(1), 1.0) - 1, (
        "a less patient prompt is not kept waiting"
    )


def passing(decodes: int, prefill: int, made: int = 1) -> float:
    """About a model of 1B with mapped weights: 70 ms for each pass."""
    return 70 * made + 9 * decodes + 5.2 * prefill


def test_passes_are_told_from_tokens() -> None:
    """A step with three prompts of different lengths has three."""
    budget = StepBudget(512)
    assert budget.least_part(1) == 1, "nothing is known"
    for decodes, prefill, made in ((1, 0, 1), (8, 0, 1), (0, 61, 1), (0, 122, 1), (0, 96, 2)) * 9:
        budget.learn(decodes, prefill, passing(decodes, prefill, made), 0.0, made)
    found = budget.expected_ms(0, 130, 0.0, 3)
    assert found == pytest.approx(passing(0, 130, 3), rel=0.05)
    assert budget.expected_ms(2, 64) == pytest.approx(passing(2, 64, 2), rel=0.05)
    assert budget.least_part(4) == pytest.approx(70 / 5.2, abs=1)
    assert budget.least_part(0) == pytest.approx(APART * 70 / 5.2, abs=APART)


def test_short_prompts_do_not_make_attention_look_dear() -> None:
    """They tell it from their tokens hardly, and a long one would be computed in tiny parts."""
    dice, budget = random.Random(1), StepBudget(2048)
    for _ in range(200):
        prefill = dice.choice((61, 62, 64))
        ms = passing(0, prefill) * dice.uniform(0.9, 1.1)
        budget.learn(0, prefill, ms, prefill * prefill / 2)
        budget.learn(1, 0, passing(1, 0) * dice.uniform(0.9, 1.1))
    deep, shallow = (budget.prefill(0, Backlog(1, depth)) for depth in (4000, 0))
    assert deep > 0.5 * shallow
