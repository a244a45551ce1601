"""Several sequences with one prompt, or one beginning: its tokens are computed once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, Outcome, driver, generate
from tests.workers.engine.test_engine_pressure import fail_batches
from workers.llama import Model
from workers.protocol import Sampling, Tokens

LONG = "Once upon a time there was a little girl. " * 23
"""About 300 tokens: three steps of the driver's budget."""


@pytest.fixture
def roomy(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """2,048 cells: four prompts of 300 tokens fit in, also without sharing."""
    with driver(f32_model, f32_path, n_ctx=2048, exact=True) as made:
        yield made


def size(made: Driver, prompt: str) -> int:
    return len(made.input_processor._model.tokenize(prompt))


def same(left: Outcome, right: Outcome) -> None:
    assert (left.ids, left.text, left.reason) == (right.ids, right.text, right.reason)


def cached(outcome: Outcome) -> int:
    assert outcome.started is not None
    return outcome.started.cached_tokens


def load(made: Driver) -> tuple[int, int]:
    """Prompt tokens computed so far, and cells in use."""
    last = made.sent[-1].load
    assert last is not None
    return last.prefill_tokens, last.cells_used


def waiting(made: Driver) -> list[int]:
    return [sequence.request.id for sequence in made.engine.scheduler.waiting]


def test_n_completions_compute_one_prompt(roomy: Driver) -> None:
    """They arrive together. The texts are those that each would give alone."""
    tokens = size(roomy, LONG)
    requests = [generate(n, LONG, sampling=Sampling(40 + n, 1.0)) for n in range(1, 5)]
    alone = [roomy.alone(request) for request in requests]
    before, _ = load(roomy)
    together = roomy.submit(*requests)
    roomy.step(5)
    computed, cells = load(roomy)
    assert all(outcome.ids for outcome in together)
    assert computed - before == tokens + 3, "each of the others computes the last token"
    assert 4 * tokens < cells < 4 * (tokens + 5), "each has cells of its own"
    roomy.run()
    for a, b in zip(alone, together, strict=True):
        same(a, b)
    assert len({outcome.text for outcome in together}) == 4
    assert [cached(outcome) for outcome in together] == [0, *[tokens - 1] * 3]


def test_who_comes_in_the_middle_of_a_prompt_waits_for_it(roomy: Driver) -> None:
    tokens = size(roomy, LONG)
    roomy.submit(generate(1, LONG))
    roomy.step()
    (late,) = roomy.submit(generate(2, LONG))
    roomy.step()
    assert (waiting(roomy), late.started) == ([2], None)
    roomy.run()
    assert cached(late) == tokens - 1


def test_one_system_prompt_many_questions(roomy: Driver) -> None:
    """No siblings: what they have in common is computed once, the rest by each."""
    requests = [generate(n, f"{LONG} {word}") for n, word in enumerate(("cat", "dog", "king"))]
    alone = [roomy.alone(request) for request in requests]
    before, _ = load(roomy)
    together = roomy.run(*requests)
    for a, b in zip(alone, together, strict=True):
        same(a, b)
    assert load(roomy)[0] - before < size(roomy, LONG) + 3 * 8


def test_other_prompts_go_past_who_waits(roomy: Driver) -> None:
    """Behind it in the line, even of less priority: it can't use the room now."""
    roomy.submit(generate(1, LONG), generate(2, LONG, priority=2.0))
    roomy.step()
    assert waiting(roomy) == [1], "the more urgent one computes for both"
    (other,) = roomy.submit(generate(3, "hello", priority=0.0))
    roomy.step()
    assert (waiting(roomy), len(other.ids)) == ([1], 1)
    roomy.run()


def test_but_not_into_the_cells_that_it_will_need(exact: Driver) -> None:
    """512 cells: 300 for the first, and the second, which waits for it, will need 399."""
    assert size(exact, LONG + " a" * 100) == 399
    outcomes = exact.submit(generate(1, LONG), generate(2, LONG + " a" * 100))
    (other,) = exact.submit(generate(3, " b" * 120))
    exact.step(3)
    assert waiting(exact) == [2, 3]
    exact.run()
    assert all(outcome.reason == "length" for outcome in (*outcomes, other))


def test_short_prompts_wait_for_nobody(roomy: Driver) -> None:
    outcomes = roomy.submit(*(generate(n, "Once upon a time") for n in range(1, 5)))
    roomy.step()
    assert [len(outcome.ids) for outcome in outcomes] == [1] * 4


def test_who_wants_its_prompt_computed_anew_waits_for_nobody(roomy: Driver) -> None:
    outcomes = roomy.submit(generate(1, LONG), generate(2, LONG, cache_prompt=False))
    roomy.step()
    assert waiting(roomy) == []
    roomy.run()
    assert [cached(outcome) for outcome in outcomes] == [0, 0]


def test_a_chat_is_cached_once(roomy: Driver) -> None:
    """Each turn starts from the tokens of the one before, and takes its place in the cache."""
    ids = roomy.input_processor._model.tokenize(LONG)
    for turn in range(3):
        (outcome,) = roomy.run(generate(turn, Tokens(ids), max_tokens=10))
        assert cached(outcome) == (len(ids) - 4 if turn else 0), "all but the token said last"
        ids = [*ids, *outcome.ids, 5, 6, 7]
        assert [len(snapshot.tokens) for snapshot in roomy.store] == [len(ids) - 4]


def test_a_parked_sequence_lends_what_it_said(roomy: Driver) -> None:
    request = generate(1, LONG, max_tokens=40)
    (first,) = roomy.submit(request)
    roomy.step(20)
    roomy.park(1)
    roomy.step()
    known = [*roomy.input_processor._model.tokenize(LONG), *first.ids]
    (second,) = roomy.run_beside(generate(2, Tokens([*known, 5]), max_tokens=4))
    assert cached(second) == len(known) - 1
    roomy.unpark(request)
    roomy.run()
    assert len(first.ids) == 40


def test_who_lost_its_cells_while_parked_finds_them_with_others(roomy: Driver) -> None:
    """Another went on from what it had said, and its own snapshot had to go."""
    request = generate(1, LONG, max_tokens=40)
    alone = roomy.alone(request)
    (first,) = roomy.submit(request)
    roomy.step(20)
    roomy.park(1)
    roomy.step()
    known = [*roomy.input_processor._model.tokenize(LONG), *first.ids]
    roomy.run_beside(generate(2, Tokens([*known, 5]), max_tokens=4))
    (parked,) = roomy.engine.scheduler.parked.values()
    assert parked.saved is not None
    roomy.store.remove(parked.saved)
    parked.saved = None
    before = roomy.engine.reporter.prefilled
    roomy.unpark(request)
    roomy.run()
    same(first, alone)
    assert roomy.engine.reporter.prefilled == before, "it computed again what was there"


# ------------------------------------------------------------------ the one that computes stops


@pytest.mark.parametrize("how", ["cancel", "park", "put back"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_other_goes_on_with_what_there_is(roomy: Driver, how: str, steps: int) -> None:
    request = generate(2, LONG, sampling=Sampling(7, 1.0))
    alone = roomy.alone(request)
    donor = generate(1, LONG)
    (first,), (second,) = roomy.submit(donor), roomy.submit(request)
    roomy.step(steps)
    assert waiting(roomy) == [2]
    if how == "cancel":
        roomy.cancel(1)
    elif how == "park":
        roomy.park(1)
    else:
        (running,) = roomy.engine.scheduler.running
        roomy.engine.scheduler.evict_running(running)
    roomy.step(4)
    assert second.ids
    # Cells of who is parked or gone are shared; who was put back computes again, for both.
    assert cached(second) == (size(roomy, LONG) - 1 if how == "put back" else 128 * steps)
    if how == "park":
        roomy.unpark(donor)
    roomy.run()
    same(second, alone)
    assert first.reason == ("cancelled" if how == "cancel" else "length")


def test_nobody_counts_on_a_suspect(roomy: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed batch its sequences are tried one by one, and others begin by themselves."""
    request = generate(3, LONG, sampling=Sampling(7, 1.0))
    alone = roomy.alone(request)
    times = iter([True])
    fail_batches(roomy, monkeypatch, lambda chunks: len(chunks) == 2 and next(times, False))
    roomy.submit(generate(1, LONG), generate(2, "Two plus two"))
    (third,) = roomy.submit(request)
    roomy.step()
    assert {s.request.id for s in roomy.engine.scheduler.suspects} == {1, 2}
    roomy.step()
    assert waiting(roomy) == []
    assert cached(third) == 0
    roomy.run()
    same(third, alone)


def test_a_donor_that_fails_takes_nobody_along(
    roomy: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails alone, by a token that only it has."""
    model = roomy.input_processor._model
    (token,) = model.tokenize("@")
    request = generate(2, LONG)
    alone = roomy.alone(request)
    fail_batches(roomy, monkeypatch, lambda chunks: any(token in c[2] for c in chunks))
    bad, good = roomy.run(generate(1, LONG + " @"), request)
    assert bad.failure is not None
    same(good, alone)
