"""Other architectures than the embedded model's: the engine says what llama.cpp says by itself."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import llama_cpp
import numpy as np
import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import ARCHITECTURES, WINDOW, write
from tests.support.engine_driver import Driver, driver, generate, loaded
from workers.llama import Model
from workers.protocol import Sampling, Tokens

COUNT = 16
CTX = 2048


@pytest.fixture(scope="module", params=ARCHITECTURES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def made(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    path = tmp_path_factory.mktemp(name) / "model.gguf"
    write(name, EMBEDDED_MODEL, path)
    with (
        loaded(path) as model,
        driver(model, path, n_ctx=CTX, exact=True, cache_bytes=8 << 20) as running,
    ):
        yield running


def prompt(seed: int, length: int) -> list[int]:
    """Tokens of no meaning, as the models'."""
    ids: list[int] = np.random.default_rng(seed).integers(300, 1500, length).tolist()
    return ids


def directly(model: Model, ids: list[int]) -> list[int]:
    """The most likely COUNT tokens after ``ids``, by llama.cpp and nothing else."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_threads = CTX, CTX, 1
    params.n_threads_batch = 1
    params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(model.handle, params)
    assert context is not None
    try:
        found, batch = list[int](), ids
        while len(found) < COUNT:
            array = (llama_cpp.llama_token * len(batch))(*batch)
            step = llama_cpp.llama_batch_get_one(array, len(batch))
            assert llama_cpp.llama_decode(context, step) == 0
            logits = llama_cpp.llama_get_logits_ith(context, -1)
            chances = np.ctypeslib.as_array(logits, (model.n_vocab,)).copy()
            chances[list(model.eog)] = -np.inf  # as with ignore_eos
            found.append(int(np.argmax(chances)))
            batch = found[-1:]
        return found
    finally:
        llama_cpp.llama_free(context)


def test_alone_and_together(made: Driver) -> None:
    """Short prompts, and such as exceed a step and the window."""
    model = made.input_processor._model
    prompts = [prompt(seed, length) for seed, length in enumerate((5, 40, WINDOW + 90, 300))]
    expected = [directly(model, ids) for ids in prompts]
    assert len({tuple(ids) for ids in expected}) == len(prompts)
    assert max(len(set(ids)) for ids in expected) > 3, "they do not just say one word"
    requests = [generate(at, Tokens(ids), max_tokens=COUNT) for at, ids in enumerate(prompts)]
    assert [made.alone(request).ids for request in requests] == expected
    assert [outcome.ids for outcome in made.run(*requests)] == expected


def test_what_is_cached_changes_no_text(made: Driver) -> None:
    """The same again, its extension, the next turn, and one that leaves it in the middle."""
    made.empty()
    model, ids = made.input_processor._model, prompt(9, 2 * WINDOW)
    (first,) = made.run(generate(20, Tokens(ids), max_tokens=COUNT))
    turn = [*ids, *first.ids, 400, 401]
    whole = len(turn) - 3  # the last token of the answer was never computed
    asked = {
        "turn": (turn, (whole, whole)),
        "again": (ids, (len(ids) - 1, len(ids) - 1)),
        "longer": ([*ids, 500, 501], (len(ids) - 1, len(ids))),
        "other": ([*ids[:WINDOW], *prompt(10, 50)], (len(ids) - 256, WINDOW)),
    }
    for at, (tokens, (taken, shared)) in enumerate(asked.values()):
        (outcome,) = made.run(generate(30 + at, Tokens(tokens), max_tokens=COUNT))
        assert outcome.ids == directly(model, tokens)
        assert outcome.started is not None
        expected = shared if model.can_cut else taken
        assert outcome.started.cached_tokens == expected


def test_parked_and_resumed(made: Driver) -> None:
    """With its cells, and without them: others fit only in their place."""
    model, ids = made.input_processor._model, prompt(11, 200)
    expected = directly(model, ids)
    for at, evicted in enumerate((False, True)):
        request = generate(40 + at, Tokens(ids), max_tokens=COUNT)
        (outcome,) = made.submit(request)
        while len(outcome.ids) < 5:
            made.step()
        made.park(request.id)
        made.step(2)
        assert outcome.parked == 1
        assert len(outcome.ids) < COUNT
        if evicted:
            others = [generate(50 + n, Tokens(prompt(n, 640)), max_tokens=4) for n in range(3)]
            made.run_beside(*others)
            assert made.kv.used == 0, "it lost its cells"
        made.unpark(request)
        made.run()
        assert outcome.ids == expected


def test_several_answers_to_one_prompt(made: Driver) -> None:
    """As n=3 with seeds of their own, and greedily."""
    model, ids = made.input_processor._model, prompt(12, 150)
    sampled = [
        generate(60 + seed, Tokens(ids), sampling=Sampling(seed=seed), max_tokens=COUNT)
        for seed in range(3)
    ]
    alone = [made.alone(request).ids for request in sampled]
    assert len({tuple(each) for each in alone}) == 3
    assert [outcome.ids for outcome in made.run(*sampled)] == alone
    greedy = [generate(70 + n, Tokens(ids), max_tokens=COUNT) for n in range(3)]
    assert [outcome.ids for outcome in made.run(*greedy)] == [directly(model, ids)] * 3


def test_four_where_there_is_room_for_two(name: str, tmp_path: Path) -> None:
    """Some are put back and computed again, or restored: their texts do not change by that."""
    path = tmp_path / "model.gguf"
    write(name, EMBEDDED_MODEL, path)
    with (
        loaded(path) as model,
        driver(model, path, n_ctx=256, exact=True, cache_bytes=8 << 20) as tight,
        pytest.MonkeyPatch.context() as patch,
    ):
        requests = [generate(n, Tokens(prompt(n, 20)), max_tokens=100) for n in range(4)]
        alone = [tight.alone(request).ids for request in requests]
        evict_running = Mock(side_effect=tight.engine.scheduler.evict_running)
        patch.setattr(tight.engine.scheduler, "evict_running", evict_running)
        assert [outcome.ids for outcome in tight.run(*requests)] == alone
        assert evict_running.called
