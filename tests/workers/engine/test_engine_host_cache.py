"""Prefixes that lost their cells come back from host memory, and give the same text."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.engine_driver import Driver, Outcome, driver, generate, loaded, spec
from tests.workers.engine.test_engine_pressure import fail_batches
from tests.workers.engine.test_engine_sharing import LONG, cached, same, size
from workers.kv.host_cache import BLOCK
from workers.llama import Context, Model
from workers.protocol import Generate, Sampling

PROMPT = "Once upon a time there was a little"
MIB = 1024 * 1024


@pytest.fixture
def hosted(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    with driver(f32_model, f32_path, n_ctx=2048, exact=True, cache_bytes=64 * MIB) as made:
        yield made


@pytest.fixture
def tight(f32_model: Model, f32_path: Path) -> Iterator[Driver]:
    """256 cells, and room for what they lose."""
    with driver(f32_model, f32_path, n_ctx=256, exact=True, cache_bytes=64 * MIB) as made:
        yield made


def evict_all(made: Driver) -> None:
    while made.kv.evict():
        pass


def test_an_evicted_prefix_comes_back(hosted: Driver) -> None:
    """In blocks; the rest is computed."""
    request = generate(1, LONG, sampling=Sampling(7, 1.0))
    alone = hosted.alone(request)
    (first,) = hosted.run(request)
    assert cached(first) == 0
    evict_all(hosted)
    assert hosted.kv.cached == 0
    (again,) = hosted.run(request)
    assert cached(again) == (size(hosted, LONG) - 1) // BLOCK * BLOCK > 0
    for outcome in (first, again):
        same(outcome, alone)
    load = hosted.sent[-1].load
    assert load is not None
    assert load.restored_tokens == cached(again)
    assert load.host_bytes == hosted.host.bytes > 0  # type: ignore[union-attr]


def test_it_goes_on_from_what_is_resident(hosted: Driver) -> None:
    """A running sequence lends the system prompt; the rest of the question was evicted."""
    question = generate(1, f"{LONG} The cat {LONG} and the dog", sampling=Sampling(7, 1.0))
    alone = hosted.alone(question)
    hosted.run(question)
    evict_all(hosted)
    hosted.submit(generate(2, LONG, max_tokens=50))
    hosted.step(8)
    before = hosted.kv.used
    (again,) = hosted.run_beside(question)
    same(again, alone)
    tokens = size(hosted, f"{LONG} The cat {LONG} and the dog")
    assert cached(again) == (tokens - 1) // BLOCK * BLOCK
    assert hosted.kv.restored < cached(again), "what the running one has was shared"
    assert before > 0
    hosted.run()


def test_a_common_beginning_is_saved_once(hosted: Driver) -> None:
    words = ("cat", "dog", "king", "moon")
    sizes = []
    for number, word in enumerate(words):
        hosted.run(generate(number, f"{LONG} {word}", max_tokens=70))
        evict_all(hosted)
        sizes.append(hosted.kv.host_bytes)
    grown = [b - a for a, b in pairwise(sizes)]
    assert all(0 < more < sizes[0] / 2 for more in grown)


def together(made: Driver, requests: list[Generate]) -> tuple[list[Outcome], int]:
    """Their outcomes, and how many prompt tokens were computed."""
    before = made.engine._prefilled
    return made.run(*requests), made.engine._prefilled - before


def test_who_was_put_back_goes_on_from_its_own_cells(tight: Driver) -> None:
    """Four generations of 100 tokens in 256 cells."""
    requests = [
        generate(n, f"{n} {PROMPT}", sampling=Sampling(n, n % 2), max_tokens=100)
        for n in range(1, 5)
    ]
    alone = [tight.alone(request) for request in requests]
    outcomes, computed = together(tight, requests)
    for a, b in zip(alone, outcomes, strict=True):
        same(a, b)
    assert tight.kv.restored > 0
    assert tight.host is not None
    tight.empty()
    tight.kv._host = None
    outcomes, without = together(tight, requests)
    for a, b in zip(alone, outcomes, strict=True):
        same(a, b)
    assert computed < without


def test_a_parked_generation_that_lost_its_cells_gets_them_back(tight: Driver) -> None:
    request = generate(1, PROMPT, max_tokens=100)
    alone = tight.alone(request)
    (outcome,) = tight.submit(request)
    tight.step(80)
    tight.park(1)
    tight.run_beside(generate(2, f"2 {PROMPT}", max_tokens=200))
    before, known = tight.kv.restored, size(tight, PROMPT) + len(outcome.ids)
    tight.unpark(request)
    tight.run()
    assert (outcome.ids, outcome.text) == (alone.ids, alone.text)
    assert tight.kv.restored - before == (known - 1) // BLOCK * BLOCK > 0


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
    assert hosted.kv.free == hosted.context.n_ctx
    assert hosted.kv.host_bytes == 0
    hosted.run()
    for a, b in zip(alone, outcomes, strict=True):
        same(a, b)


def test_who_wants_its_prompt_computed_anew_gets_that(hosted: Driver) -> None:
    hosted.run(generate(1, LONG))
    evict_all(hosted)
    (outcome,) = hosted.run(generate(2, LONG, cache_prompt=False))
    assert cached(outcome) == hosted.kv.restored == 0


def test_the_bound_is_kept(f32_model: Model, f32_path: Path) -> None:
    with driver(f32_model, f32_path, n_ctx=512, exact=True, cache_bytes=2 * MIB) as made:
        for number in range(6):
            made.run(generate(number, f"{number} {LONG}", max_tokens=20))
            evict_all(made)
            assert 0 < made.kv.host_bytes <= 2 * MIB
        (last,) = made.run(generate(9, f"5 {LONG}"))
        assert cached(last) > 0
        assert cached(last) < size(made, f"5 {LONG}") // BLOCK * BLOCK, "it fits as a whole"


@pytest.mark.parametrize(
    ("type_kv", "flash_attn"), [("f32", "off"), ("f16", "on"), ("f16", "off"), ("q8_0", "on")]
)
def test_a_state_survives_the_journey(f32_path: Path, type_kv: str, flash_attn: str) -> None:
    """To the byte, whatever llama.cpp's layout is; into cells that are not in a row."""
    wanted = spec(f32_path, type_k=type_kv, type_v=type_kv, flash_attn=flash_attn)
    with loaded(f32_path) as model:
        context = Context(model, wanted, 4)
        tokens = list(range(5, 105))
        for start in range(0, 100, 10):  # two sequences take turns in the cells
            for sequence in (0, 1):
                chunk = tokens[start : start + 10]
                assert context.decode([(sequence, start, chunk, 0)]) == 0
        states = [context.save(1, 0, 50), context.save(1, 40, 100)]
        context.drop(1)
        assert context.restore(2, 0, 50, states[0])
        assert context.restore(2, 50, 100, states[1])
        assert (context.length(1), context.length(2)) == (0, 100)
        assert [context.save(2, 0, 50), context.save(2, 40, 100)] == states
        context.close()


def test_a_state_that_does_not_fit_changes_nothing(f32_path: Path) -> None:
    with loaded(f32_path) as model:
        context = Context(model, spec(f32_path, n_ctx=256), 4)
        tokens = [5] * 100
        for sequence in (0, 1):
            assert context.decode([(sequence, 0, tokens, 0)]) == 0
        state = context.save(0, 0, 100)
        assert not context.restore(2, 0, 100, state)
        assert [context.length(sequence) for sequence in range(5)] == [100, 100, 0, 0, 0]
        context.close()
