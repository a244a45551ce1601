"""Long prompts beside running streams and short prompts, on real llama.cpp."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, driver, generate
from workers.llama import Model
from workers.planning.step_budget import StepBudget
from workers.protocol import Patience

LONG = "one two three four five six seven eight nine ten " * 9
"""Some 160 tokens, and steps of the driver hold 128."""
SHORT = "What is 2 + 2?"


@pytest.fixture
def hurried(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """With a target that no machine can keep, so that prompts get the least there is."""
    budget = StepBudget(128, Patience(0.0, 0.001))
    with driver(f32_model, f32_path, exact=True, n_ctx=1024, budget=budget) as made:
        yield made


def test_a_long_prompt_is_computed_in_small_parts_beside_streams(hurried: Driver) -> None:
    """The streams go on in each of its steps, and all texts are what they are alone."""
    requests = [generate(n, f"{n} {SHORT}", max_tokens=200) for n in (1, 2)]
    late = generate(3, LONG, max_tokens=5)
    alone = [hurried.alone(request).text for request in (*requests, late)]
    streams = hurried.submit(*requests)
    hurried.step(4)
    (long,) = hurried.submit(late)
    steps = 0
    while not long.ids:
        before = [len(stream.ids) for stream in streams]
        hurried.step()
        steps += 1
        assert [len(stream.ids) for stream in streams] == [n + 1 for n in before]
    assert steps > 10, "128 tokens a step would be two"
    hurried.run()
    assert [outcome.text for outcome in (*streams, long)] == alone


def test_short_prompts_pass_a_long_one(exact: Driver) -> None:
    """It came first; they are done in the step after they came."""
    (long,) = exact.submit(generate(1, LONG * 2))
    exact.step()
    short = exact.submit(*(generate(n, f"{n} {SHORT}") for n in (2, 3, 4)))
    exact.step()
    assert all(outcome.ids for outcome in short)
    assert not long.ids
    exact.run()


def test_a_long_prompt_gets_its_turn_by_waiting(exact: Driver) -> None:
    """An hour later nobody passes it."""
    (long,) = exact.submit(generate(1, LONG, rank=0.0))
    exact.step()
    (short,) = exact.submit(generate(2, SHORT, rank=3600.0))
    while not long.ids:
        assert not short.ids
        exact.step()
    exact.run()


def test_prompts_are_computed_in_the_order_of_their_places(exact: Driver) -> None:
    """Equal ones: the more urgent has waited longer, as the queue counts."""
    first, second = exact.submit(generate(1, LONG, rank=2.0), generate(2, f"2 {LONG}", rank=1.0))
    while not second.ids:
        assert not first.ids
        exact.step()
    exact.run()


@pytest.fixture
def patient(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """Streams of the batch class, priority 0, rest; others don't."""
    budget = StepBudget(128, Patience(0.0, None, 60_000.0), Patience(1.0, None))
    with driver(f32_model, f32_path, exact=True, n_ctx=1024, budget=budget) as made:
        yield made


def test_batch_streams_rest_until_all_prompts_are_computed(patient: Driver) -> None:
    """Then they go on together, with the texts that they have alone."""
    requests = [generate(n, f"{n} {SHORT}", priority=0.0) for n in (1, 2)]
    late = [generate(n, f"{n} {LONG}", priority=0.0, max_tokens=9) for n in (3, 4)]
    alone = [patient.alone(request).text for request in (*requests, *late)]
    streams = patient.submit(*requests)
    while not all(stream.ids for stream in streams):
        patient.step()
    prompts = patient.submit(*late)
    before = [len(stream.ids) for stream in streams]
    steps = 0
    while not all(prompt.ids for prompt in prompts):
        assert [len(stream.ids) for stream in streams] == before
        patient.step()
        steps += 1
    assert steps > 2
    patient.step()
    assert [len(stream.ids) for stream in streams] == [n + 1 for n in before]
    patient.run()
    assert [outcome.text for outcome in (*streams, *prompts)] == alone


def test_they_do_not_beside_a_stream_that_is_watched(patient: Driver) -> None:
    streams = patient.submit(
        generate(1, f"1 {SHORT}", priority=0.0, max_tokens=200),
        generate(2, f"2 {SHORT}", max_tokens=200),
    )
    while not all(stream.ids for stream in streams):
        patient.step()
    (prompt,) = patient.submit(generate(3, LONG * 2, priority=0.0))
    while not prompt.ids:
        before = [len(stream.ids) for stream in streams]
        patient.step()
        assert [len(stream.ids) for stream in streams] == [n + 1 for n in before]
    patient.run()


def test_rest_ends_after_its_time(f32_model: Model, f32_path: Path) -> None:
    """They have a token, and rest again."""
    budget = StepBudget(128, Patience(0.0, None, 60_000.0))
    with driver(f32_model, f32_path, exact=True, n_ctx=1024, budget=budget) as made:
        (stream,) = made.submit(generate(1, SHORT, priority=0.0, max_tokens=100))
        made.step(2)
        (prompt,) = made.submit(generate(2, LONG * 4, priority=0.0))
        made.step(2)
        had = len(stream.ids)
        budget.rested(60_000.0)
        made.step(2)
        assert (len(stream.ids), prompt.ids) == (had + 1, [])
        made.run()
