"""The engine when cells run out, clients leave and batches fail: the others must not notice."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, Outcome, driver, generate
from workers.engine.sequence import EngineSequence
from workers.llama import NO_CELLS, Model
from workers.protocol import COMPUTE_FAILED, Sampling

PROMPT = "Once upon a time there was a little"
Chunks = list[tuple[int, int, list[int], bool]]
BROKEN = -3
"""llama_decode's result for a failed computation."""


def same(left: Outcome, right: Outcome) -> None:
    assert (left.ids, left.text, left.reason) == (right.ids, right.text, right.reason)


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """256 cells, llama.cpp's least."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True) as made:
        assert made.context.n_ctx == 256
        yield made


# ------------------------------------------------------------------ cells run out


def test_all_complete_when_cells_run_out(tight: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four generations of 100 tokens in 256 cells: some are put back and computed again."""
    requests = [
        generate(n, f"{n} {PROMPT}", sampling=Sampling(n, n % 2), max_tokens=100)
        for n in range(1, 5)
    ]
    alone = [tight.alone(request) for request in requests]
    evict_running: list[int] = []
    real = tight.engine.scheduler.evict_running

    def counted(sequence: EngineSequence) -> None:
        evict_running.append(sequence.request.id)
        real(sequence)

    monkeypatch.setattr(tight.engine.scheduler, "evict_running", counted)
    together = tight.run(*requests)
    for a, b in zip(alone, together, strict=True):
        same(a, b)
    assert evict_running, "the cells were enough: this tests nothing"
    assert 1 not in evict_running, "the oldest keeps its cells, so that there is always progress"


def test_spare_ones_give_up_their_cells_at_once(tight: Driver) -> None:
    """In the same step, for any that is not spare; their texts stay what they are alone."""
    spare = [
        generate(n, f"{n} {PROMPT}", max_tokens=60, priority=-math.inf, rank=math.inf)
        for n in (1, 2)
    ]
    big = generate(3, " a" * 230, max_tokens=3, priority=-5.0)
    alone = [tight.alone(request) for request in (*spare, big)]
    outcomes = tight.submit(*spare)
    tight.step(30)
    (outcome,) = tight.submit(big)
    another = generate(4, " b" * 200, max_tokens=3, priority=-math.inf, rank=math.inf)
    tight.submit(another)
    tight.step()
    assert [s.request.id for s in tight.engine.scheduler.running] == [3]
    assert {s.request.id for s in tight.engine.scheduler.waiting} == {1, 2, 4}, "no spare one does"
    tight.run()
    for left, right in zip(alone, (*outcomes, outcome), strict=True):
        same(left, right)


def test_prompt_that_does_not_fit_beside_others_waits(tight: Driver) -> None:
    """It is admitted when there is room for all of it, not computed by halves and put back."""
    (first,) = tight.submit(generate(1, PROMPT, max_tokens=100))
    tight.step(60)
    (big,) = tight.submit(generate(2, " a" * 100, max_tokens=3))
    tight.step(2)
    if big.started is None:
        assert len(tight.engine.scheduler.waiting) == 1
    tight.run()
    assert (len(first.ids), len(big.ids)) == (100, 3)


def test_llama_cpps_own_word_is_heeded(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger is wrong about free cells, "no cells" makes room instead of failing."""
    fail_batches(exact, monkeypatch, lambda chunks: len(chunks) > 1, status=NO_CELLS)
    first, _ = exact.submit(*(generate(n, f"{n} {PROMPT}", max_tokens=10) for n in (1, 2)))
    exact.step(20)
    assert first.ids, "no progress"


# ------------------------------------------------------------------ clients leave


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_cancel_at_any_time(exact: Driver, steps: int) -> None:
    """In the middle of a prompt (two steps long) and of a completion."""
    alone = exact.alone(generate(1, PROMPT, max_tokens=12))
    gone, stays = exact.submit(
        generate(2, " a" * 200, max_tokens=50), generate(3, PROMPT, max_tokens=12)
    )
    exact.step(steps)
    had = len(gone.ids)
    exact.cancel(2)
    exact.cancel(99)  # it ended before the word came: nobody's
    exact.step()
    assert (gone.reason, len(gone.ids)) == ("cancelled", had)
    exact.run()
    same(stays, alone)


def test_cancel_before_it_began(exact: Driver) -> None:
    (gone,) = exact.submit(generate(1, PROMPT))
    exact.cancel(1)
    exact.step()
    assert (gone.reason, gone.started, gone.ids) == ("cancelled", None, [])
    assert not exact.busy
    assert exact.kv.used == 0


def test_cancel_of_what_was_put_back(tight: Driver) -> None:
    requests = [generate(n, f"{n} {PROMPT}", max_tokens=150) for n in (1, 2)]
    first, second = tight.submit(*requests)
    while not (tight.engine.scheduler.waiting and second.ids):
        tight.step()
    tight.cancel(2)
    tight.step()
    assert second.reason == "cancelled"
    tight.run()
    assert len(first.ids) == 150


def test_cancelled_prefix_is_still_of_use(exact: Driver) -> None:
    exact.submit(generate(1, PROMPT, max_tokens=100))
    exact.step(4)
    exact.cancel(1)
    (outcome,) = exact.run(generate(2, PROMPT))
    assert outcome.started is not None
    assert outcome.started.cached_tokens == outcome.started.prompt_tokens - 1


# ------------------------------------------------------------------ batches fail


def fail_batches(
    made: Driver,
    monkeypatch: pytest.MonkeyPatch,
    poisoned: Callable[[Chunks], bool],
    status: int = BROKEN,
) -> list[Chunks]:
    """Let ``llama_decode`` refuse some batches, before it touches anything; those batches."""
    decode, failed = made.context.decode, []

    def stub(chunks: Chunks) -> int:
        if poisoned(chunks):
            failed.append(chunks)
            return status
        return decode(chunks)

    monkeypatch.setattr(made.context, "decode", stub)
    return failed


def holds(token: int) -> Callable[[Chunks], bool]:
    return lambda chunks: any(token in tokens for _, _, tokens, _ in chunks)


def poison(made: Driver) -> tuple[str, int]:
    """A word, and a token of it that nothing else in these tests has."""
    model = made.input_processor._model
    (token,) = model.tokenize("@")
    return "@", token


def test_failure_stays_with_its_request(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    word, token = poison(exact)
    good = [generate(n, f"{n} {PROMPT}", max_tokens=15) for n in (1, 2, 3)]
    alone = [exact.alone(request) for request in good]
    failed = fail_batches(exact, monkeypatch, holds(token))
    outcomes = exact.submit(*good)
    exact.step(4)
    (bad,) = exact.submit(generate(9, f"{PROMPT} {word}"))
    exact.run()
    assert bad.failure is not None
    assert bad.failure.code == COMPUTE_FAILED
    assert bad.ids == []
    for a, b in zip(alone, outcomes, strict=True):
        same(a, b)
    assert [len(chunks) for chunks in failed] == [4, 1], "found by trying each alone once"


def test_failure_alone(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    word, token = poison(exact)
    fail_batches(exact, monkeypatch, holds(token))
    (bad,) = exact.run(generate(1, word))
    assert bad.failure is not None
    assert f"failed with {BROKEN}" in bad.failure.message
    monkeypatch.undo()
    (good,) = exact.run(generate(2, PROMPT))
    assert good.reason == "length"


def test_two_failures_at_once(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    word, token = poison(exact)
    alone = exact.alone(generate(1, PROMPT))
    fail_batches(exact, monkeypatch, holds(token))
    first, good, second = exact.run(
        generate(2, word), generate(3, PROMPT), generate(4, f"{word} {word}")
    )
    assert first.failure is not None
    assert second.failure is not None
    same(good, alone)


def test_failure_that_comes_and_goes_costs_nobody(
    exact: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that fails although none of its sequences fails alone."""
    requests = [generate(n, f"{n} {PROMPT}", max_tokens=15) for n in (1, 2, 3)]
    alone = [exact.alone(request) for request in requests]
    times = iter([True])
    fail_batches(exact, monkeypatch, lambda chunks: len(chunks) == 3 and next(times, False))
    for a, b in zip(alone, exact.run(*requests), strict=True):
        same(a, b)


def test_cancel_of_a_suspect(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    word, token = poison(exact)
    fail_batches(exact, monkeypatch, holds(token))
    good, bad = exact.submit(generate(1, PROMPT), generate(2, word))
    exact.step()
    assert exact.engine.scheduler.suspects
    exact.cancel(2)
    exact.run()
    assert (good.reason, bad.reason, bad.failure) == ("length", "cancelled", None)


def test_late_failure_is_found_while_others_run(
    exact: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poisoned token is in a prompt's second step: its first one alone proves nothing."""
    word, token = poison(exact)
    failed = fail_batches(exact, monkeypatch, holds(token))
    (good,) = exact.submit(generate(1, PROMPT, max_tokens=12))
    exact.step(2)
    (bad,) = exact.submit(generate(2, " a" * 200 + f" {word}", max_tokens=5))
    exact.run()
    assert bad.failure is not None
    assert (len(good.ids), good.reason) == (12, "length")
    assert len(failed) <= 3, "each failed batch costs every neighbour all of its cells"
