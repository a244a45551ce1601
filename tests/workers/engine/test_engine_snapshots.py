"""Prefixes come back from host memory, and give the same text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, Outcome, driver, generate, loaded, spec
from tests.workers.engine.test_engine_pressure import fail_batches
from tests.workers.engine.test_engine_sharing import LONG, cached, same, size
from workers.llama import Context, Model
from workers.planning.geometry import Geometry
from workers.protocol import Generate, Sampling

PROMPT = "Once upon a time there was a little"
MIB = 1024 * 1024


@pytest.fixture
def hosted(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """Streams of 512 cells."""
    with driver(f32_model, f32_path, n_ctx=4096, exact=True) as made:
        assert not made.kv.geometry.unified
        yield made


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """256 cells together, and room for what they lose."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True) as made:
        assert made.kv.geometry.unified
        yield made


def test_a_prefix_comes_back(hosted: Driver) -> None:
    request = generate(1, LONG, sampling=Sampling(7, 1.0))
    alone = hosted.alone(request)
    (first,) = hosted.run(request)
    assert cached(first) == hosted.kv.used == 0
    (again,) = hosted.run(request)
    assert cached(again) == size(hosted, LONG) - 1
    for outcome in (first, again):
        same(outcome, alone)
    load = hosted.sent[-1].load
    assert load is not None
    assert load.restored_tokens == cached(again)
    assert load.host_bytes == hosted.store.bytes > 0
    (kept,) = hosted.store
    assert load.host_room == hosted.store.capacity * len(kept.tokens) // kept.size


def test_a_running_sequence_lends_what_it_has(hosted: Driver) -> None:
    question = generate(1, f"{LONG} The cat", sampling=Sampling(7, 1.0))
    alone = hosted.alone(question)
    hosted.submit(generate(2, LONG, max_tokens=50))
    hosted.step(8)
    (again,) = hosted.run_beside(question)
    same(again, alone)
    assert cached(again) >= size(hosted, LONG) - 1
    hosted.run()


def together(made: Driver, requests: list[Generate]) -> tuple[list[Outcome], int]:
    """Their outcomes, and how many prompt tokens were computed."""
    before = made.engine.reporter.prefilled
    return made.run(*requests), made.engine.reporter.prefilled - before


def test_a_sequence_that_was_put_back_computes_nothing_again(tight: Driver) -> None:
    """Four generations of 100 tokens in 256 cells."""
    requests = [
        generate(n, f"{n} {PROMPT}", sampling=Sampling(n, n % 2), max_tokens=100)
        for n in range(1, 5)
    ]
    alone = [tight.alone(request) for request in requests]
    restored = tight.kv.restored
    outcomes, computed = together(tight, requests)
    for a, b in zip(alone, outcomes, strict=True):
        same(a, b)
    assert tight.kv.restored > restored
    assert computed <= sum(size(tight, f"{n} {PROMPT}") for n in range(1, 5))


@pytest.mark.parametrize("cache_bytes", [0, 64 * MIB])
def test_a_parked_generation_computes_nothing_again(
    f32_model: Model, f32_path: Path, cache_bytes: int
) -> None:
    """Its work is not lost without a cache either."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True, cache_bytes=cache_bytes) as made:
        request = generate(1, PROMPT, max_tokens=100)
        alone = made.alone(request)
        (outcome,) = made.submit(request)
        made.step(80)
        made.park(1)
        made.run_beside(generate(2, f"2 {PROMPT}", max_tokens=200))
        before = made.engine.reporter.prefilled
        made.unpark(request)
        made.run()
        assert (outcome.ids, outcome.text) == (alone.ids, alone.text)
        assert made.engine.reporter.prefilled == before
        assert cache_bytes or not list(made.store)


def test_what_a_failed_batch_left_is_not_saved(
    hosted: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [generate(n, f"{n} {LONG}", max_tokens=20) for n in (1, 2)]
    alone = [hosted.alone(request) for request in requests]
    times = iter([False] * 10 + [True])
    failed = fail_batches(
        hosted, monkeypatch, lambda chunks: len(chunks) == 2 and next(times, False)
    )
    outcomes = hosted.submit(*requests)
    while not failed:
        hosted.step()
    assert hosted.kv.used == hosted.kv.host_bytes == 0
    hosted.run()
    for a, b in zip(alone, outcomes, strict=True):
        same(a, b)


def test_a_prompt_is_computed_anew_if_that_is_wanted(hosted: Driver) -> None:
    hosted.run(generate(1, LONG))
    (outcome,) = hosted.run(generate(2, LONG, cache_prompt=False))
    assert cached(outcome) == hosted.kv.restored == 0


def test_the_bound_is_kept(f32_model: Model, f32_path: Path) -> None:
    with driver(f32_model, f32_path, n_ctx=512, exact=True, cache_bytes=4 * MIB) as made:
        for number in range(6):
            made.run(generate(number, f"{number} {LONG}", max_tokens=20))
            assert 0 < made.kv.host_bytes <= 4 * MIB
        (last,) = made.run(generate(9, f"5 {LONG}"))
        assert cached(last) > 0
        (first,) = made.run(generate(10, f"0 {LONG}"))
        assert cached(first) < 10, "the least recently used one went"


@pytest.mark.parametrize(
    ("type_kv", "flash_attn"), [("f32", "off"), ("f16", "on"), ("f16", "off"), ("q8_0", "on")]
)
@pytest.mark.parametrize("others", [Geometry(4, 256, False), Geometry(4, 1024, True)])
def test_a_state_survives_the_journey(
    f32_path: Path, type_kv: str, flash_attn: str, others: Geometry
) -> None:
    """To the byte, whatever llama.cpp's layout is, and through another geometry."""
    wanted = spec(f32_path, type_k=type_kv, type_v=type_kv, flash_attn=flash_attn)
    with loaded(f32_path) as model:
        context = Context(model, wanted, Geometry(2, 512, False))
        tokens = list(range(5, 105))
        for start in range(0, 100, 10):
            for sequence in (0, 1):
                chunk = tokens[start : start + 10]
                assert context.decode([(sequence, start, chunk, 0)]) == 0
        state = context.save(1)
        context.reshape(others)
        assert context.restore(1, state)
        assert (context.length(0), context.length(1)) == (0, 100)
        back = context.save(1)
        assert back.translated(2).data == state.translated(4).translated(2).data
        context.reshape(Geometry(2, 512, False))
        assert context.restore(1, back)
        assert context.save(1).translated(4).data == state.translated(4).data
        context.close()


def test_a_state_that_does_not_fit_changes_nothing(f32_path: Path) -> None:
    with loaded(f32_path) as model:
        context = Context(model, spec(f32_path), Geometry(4, 256, True))
        tokens = [5] * 100
        for sequence in (0, 1):
            assert context.decode([(sequence, 0, tokens, 0)]) == 0
        state = context.save(0)
        assert not context.restore(2, state)
        assert [context.length(sequence) for sequence in range(4)] == [100, 100, 0, 0]
        context.close()
