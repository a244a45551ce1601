"""Preemption inside a worker: a parked generation keeps its cells, and goes on from there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, driver, generate
from workers.engine.sequence import EngineSequence
from workers.llama import Model

PROMPT = "Once upon a time there was a little"


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """256 cells, llama.cpp's least."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True) as made:
        yield made


def test_a_parked_generation_computes_nothing_twice(tight: Driver) -> None:
    request = generate(1, PROMPT, max_tokens=60)
    alone = tight.alone(request)
    before = tight.engine.reporter.prefilled
    (outcome,) = tight.submit(request)
    tight.step(20)
    tight.park(1)
    tight.step()
    assert outcome.parked == 1
    known = len(outcome.ids)
    (other,) = tight.run_beside(generate(2, f"2 {PROMPT}", max_tokens=30))
    assert len(other.ids) == 30
    assert len(outcome.ids) == known, "it computed while it was parked"
    prompts = tight.engine.reporter.prefilled - before
    tight.unpark(request)
    tight.run()
    assert (outcome.ids, outcome.text) == (alone.ids, alone.text)
    assert tight.engine.reporter.prefilled - before == prompts, "its prompt was computed again"


def test_a_parked_generation_yields_its_cells_when_they_are_needed(tight: Driver) -> None:
    request = generate(1, PROMPT, max_tokens=100)
    alone = tight.alone(request)
    (outcome,) = tight.submit(request)
    tight.step(80)
    tight.park(1)
    (big,) = tight.run_beside(generate(2, f"2 {PROMPT}", max_tokens=200))
    assert len(big.ids) == 200, "256 cells do not hold both"
    tight.unpark(request)
    tight.run()
    assert (outcome.ids, outcome.text) == (alone.ids, alone.text)


@pytest.mark.parametrize("together", [False, True])
def test_a_parked_generation_that_is_cancelled_leaves_nothing(
    tight: Driver, together: bool
) -> None:
    (outcome,) = tight.submit(generate(1, PROMPT, max_tokens=60))
    tight.step(10)
    tight.park(1)
    if not together:
        tight.step()
    tight.cancel(1)
    tight.step()
    assert outcome.reason == "cancelled"
    assert not tight.engine.scheduler.parked
    assert tight.kv.used == 0


def test_parking_what_has_ended_is_nothing(tight: Driver) -> None:
    (outcome,) = tight.run(generate(1, PROMPT, max_tokens=3))
    tight.park(1)
    tight.park(7)
    tight.step()
    assert outcome.parked == 0
    assert not tight.engine.scheduler.parked


def test_the_more_urgent_gets_cells_first(tight: Driver) -> None:
    tight.submit(generate(1, PROMPT, max_tokens=100))
    tight.step(60)
    for id_, priority in ((2, 0.0), (3, 0.0), (4, 2.0), (5, 1.0), (6, 2.0)):
        tight.submit(generate(id_, " a" * 150, max_tokens=2, priority=priority))
    tight.step()
    assert [s.request.id for s in tight.engine.scheduler.running] == [1, 4], "there is room for one"
    assert [s.request.id for s in tight.engine.scheduler.waiting] == [6, 5, 2, 3]
    tight.run()


def test_the_least_urgent_and_youngest_is_put_back(
    tight: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    evict_running: list[int] = []
    real = tight.engine.scheduler.evict_running

    def counted(sequence: EngineSequence) -> None:
        evict_running.append(sequence.request.id)
        real(sequence)

    monkeypatch.setattr(tight.engine.scheduler, "evict_running", counted)
    tight.run(
        generate(1, f"1 {PROMPT}", max_tokens=100, priority=0.0),
        generate(2, f"2 {PROMPT}", max_tokens=100, priority=0.0),
        generate(3, f"3 {PROMPT}", max_tokens=100, priority=2.0),
    )
    assert evict_running
    assert set(evict_running) == {2}, "the urgent one, or the oldest, lost its cells"
