"""Quick steps share a frame: what is told at once, what waits and for how long, what is joined."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import Driver, driver, generate
from workers.engine.outbox import PATIENCE_MS, QUICK_MS, Outbox, joined
from workers.llama import Model
from workers.protocol import (
    Delta,
    Drafts,
    Event,
    Extra,
    Failed,
    Finished,
    Logprob,
    Parked,
    Started,
    Step,
    TokenChance,
)

PROMPT = "Once upon a time there was a little"


def delta(id_: int = 1, token: int = 0, *, attempt: int = 1, extra: Extra | None = None) -> Delta:
    return Delta(id_, attempt, [token], f"<{token}>", extra)


def flowing(*ids: int) -> Outbox:
    """An outbox that has told the first tokens of some generations."""
    outbox = Outbox()
    outbox.add([delta(id_) for id_ in ids], 0)
    outbox.take()
    return outbox


def test_a_first_token_is_told_at_once() -> None:
    outbox = Outbox()
    outbox.add([Started(1, 1, 5, 0)], 0)
    assert outbox.due(0, 0.1)
    outbox.take()
    outbox.add([delta()], 1)
    assert outbox.due(1, 0.1)
    assert outbox.take() == [delta()]
    outbox.add([delta()], 2)
    assert not outbox.due(2, 0.1)


def test_so_is_the_first_of_a_later_attempt() -> None:
    outbox = flowing(1)
    outbox.add([delta(attempt=2)], 1)
    assert outbox.due(1, 0.1)


@pytest.mark.parametrize(
    "event",
    [
        Finished(1, 1, "stop", [7], "."),
        Failed(1, 1, "compute_failed", "why"),
        Parked(1, 1),
        Started(2, 1, 5, 0),
    ],
)
def test_what_the_gateway_acts_on_takes_along_what_waits(event: Event) -> None:
    outbox = flowing(1)
    outbox.add([delta(token=4)], 1)
    assert not outbox.due(1, 0.1)
    outbox.add([event], 2)
    assert outbox.due(2, 0.1)
    assert outbox.take() == [delta(token=4), event]
    assert not outbox.waiting


def test_a_slow_step_is_told_by_itself() -> None:
    outbox = flowing(1)
    outbox.add([delta()], 1)
    assert outbox.due(1, QUICK_MS + 0.1)


@pytest.mark.parametrize("step_ms", [0.1, 0.6, 1.0, 3.0, QUICK_MS])
def test_nothing_waits_longer_than_its_patience(step_ms: float) -> None:
    outbox, now, shared = flowing(1), 0.0, 0
    outbox.add([delta()], now)
    while not outbox.due(now, step_ms):
        now += step_ms
        shared += 1
        outbox.add([delta()], now)
    assert shared >= 1
    assert now < PATIENCE_MS <= now + step_ms


def test_a_step_without_events_is_told_too() -> None:
    outbox = Outbox()
    outbox.add([], 0)
    assert outbox.waiting
    assert not outbox.due(0, 1)
    assert outbox.due(PATIENCE_MS, 1)
    assert outbox.take() == []
    assert not outbox.due(PATIENCE_MS, 1)


def test_without_patience_each_step_is_told() -> None:
    outbox = Outbox(patience_ms=0)
    outbox.add([delta()], 0)
    outbox.take()
    outbox.add([delta()], 0)
    assert outbox.due(0, 0)


def test_ends_are_forgotten() -> None:
    outbox = Outbox()
    for id_ in range(1000):
        outbox.add([delta(id_), Finished(id_, 1, "stop", [], "")], 0)
        outbox.take()
    assert not outbox._flowing


def test_plain_tokens_of_a_generation_become_one_event() -> None:
    steps = [delta(1, 3), delta(2, 4), delta(1, 5), delta(2, 6)]
    assert joined([*steps]) == [Delta(1, 1, [3, 5], "<3><5>"), Delta(2, 1, [4, 6], "<4><6>")]


def test_thoughts_and_probabilities_stay_by_themselves_and_in_their_order() -> None:
    thought = delta(1, 4, extra=Extra(reasoning="hm"))
    likely = delta(1, 5, extra=Extra(logprobs=[Logprob(TokenChance(5, b"5", -0.1), [])]))
    events = [delta(1, 3), thought, likely, delta(1, 6), delta(1, 7)]
    assert joined(events) == [delta(1, 3), thought, likely, Delta(1, 1, [6, 7], "<6><7>")]


def test_steps_with_drafts_stay_by_themselves() -> None:
    drafted = Delta(1, 1, [4, 5], "<4><5>", None, Drafts(3, 1))
    events = [delta(1, 3), drafted, delta(1, 6), delta(1, 7)]
    assert joined(events) == [delta(1, 3), drafted, Delta(1, 1, [6, 7], "<6><7>")]


@given(
    st.lists(
        st.builds(
            lambda id_, token, thinks: delta(
                id_, token, extra=Extra(reasoning="x") if thinks else None
            ),
            st.integers(1, 3),
            st.integers(0, 9),
            st.booleans(),
        )
    )
)
def test_joining_loses_nothing_of_any_generation(events: list[Event]) -> None:
    def told(found: list[Event]) -> dict[int, list[object]]:
        said: dict[int, list[object]] = {}
        for event in found:
            assert isinstance(event, Delta)
            parts = said.setdefault(event.id, [])
            parts += event.ids if event.extra is None else [(event.ids, event.extra)]
        return said

    def text(found: list[Event]) -> dict[int, str]:
        said: dict[int, str] = {}
        for event in found:
            assert isinstance(event, Delta)
            said[event.id] = said.get(event.id, "") + event.text
        return said

    assert told(joined(events)) == told(events)
    assert text(joined(events)) == text(events)


# ------------------------------------------------------------------ in an engine


@pytest.fixture
def patient(f16_model: Model) -> Iterator[Driver]:
    """Frames wait for an hour, unless something must be told."""
    with driver(f16_model, EMBEDDED_MODEL, patience_ms=3.6e6) as made:
        yield made


def ids(step: Step) -> list[list[int]]:
    return [event.ids for event in step.events if isinstance(event, Delta | Finished)]


def test_the_first_token_and_the_end_are_told_in_their_steps(patient: Driver) -> None:
    (outcome,) = patient.submit(generate(1, PROMPT, max_tokens=10))
    while not outcome.ids:
        patient.step()
    assert len(outcome.ids) == 1, "it waited for a second token"
    frames = len(patient.sent)
    patient.step(8)
    assert len(patient.sent) == frames
    assert not outcome.ended
    patient.step()
    assert len(patient.sent) == frames + 1
    assert [len(each) for each in ids(patient.sent[-1])] == [8, 1]
    assert outcome.reason == "length"
    load = patient.sent[-1].load
    assert load is not None
    assert load.decode_tokens == 10


def test_texts_are_those_of_steps_told_one_by_one(f16_model: Model, patient: Driver) -> None:
    requests = [generate(n, f"{n} {PROMPT}", max_tokens=20 + n, stop=("the",)) for n in range(4)]
    found = [(o.ids, o.text, o.reason) for o in patient.run(*requests)]
    frames = len(patient.sent)
    with driver(f16_model, EMBEDDED_MODEL) as usual:
        assert [(o.ids, o.text, o.reason) for o in usual.run(*requests)] == found
        assert len(usual.sent) > frames


def test_a_new_prompt_does_not_hold_back_what_waits(patient: Driver) -> None:
    (first,) = patient.submit(generate(1, PROMPT, max_tokens=60))
    patient.step(10)
    told = len(first.ids)
    sampled = patient.engine.reporter.decoded
    assert told < sampled
    patient.submit(generate(2, f"2 {PROMPT}", max_tokens=5))
    patient.step()
    before = next(step for step in reversed(patient.sent) if step.load is None)
    assert sum(map(len, ids(before))) == sampled - told, "told before the prompt was computed"


def test_a_slot_that_was_left_is_told_before_the_next_step(patient: Driver) -> None:
    patient.submit(generate(1, PROMPT, max_tokens=60), generate(2, f"2 {PROMPT}", max_tokens=60))
    patient.step(10)
    patient.park(1)
    patient.step()
    frame = patient.sent[-1]
    assert frame.load is None
    assert isinstance(frame.events[-1], Parked)
    patient.cancel(2)
    patient.step()
    load = patient.sent[-1].load
    assert load is not None, "without work no step will report the load"
    assert (load.running, load.parked) == (0, 1)


def test_a_parked_generation_goes_on_after_its_last_token(
    exact: Driver, f32_model: Model, f32_path: Path
) -> None:
    request = generate(1, PROMPT, max_tokens=40)
    alone = exact.alone(request)
    with driver(f32_model, f32_path, exact=True, patience_ms=3.6e6) as patient:
        (outcome,) = patient.submit(request)
        patient.step(12)
        patient.park(1)
        patient.step()
        assert outcome.parked == 1
        patient.unpark(request)
        patient.run()
        assert (outcome.ids, outcome.text) == (alone.ids, alone.text)
