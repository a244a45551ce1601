"""Embeddings in the engine, on real llama.cpp, against llama.cpp's own pooling in one batch."""

from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from gguf import PoolingType

from tests.support.encoder import CONTEXT, WIDTH, encoder
from tests.support.engine_driver import Driver, driver, embed, generate, loaded
from tests.support.vectors import Reference, reference, same, unpacked
from workers import llama
from workers.llama import EmbeddingContext, LoadFailed, Model
from workers.llama.pooling import Rows
from workers.protocol import (
    BAD_PROMPT,
    COMPUTE_FAILED,
    CONTEXT_OVERFLOW,
    NOT_SUPPORTED,
    Cancel,
    Started,
)
from workers.refused import InputRefused

Chunks = list[tuple[int, int, list[int], range]]
TEXTS = ["Once upon a time", "2 + 2 =", "x", "The queue is fair and nobody starves. " * 3]
LONG = "A long story of a queue that never ended. " * 30
POOLINGS = {
    PoolingType.MEAN: llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    PoolingType.CLS: llama_cpp.LLAMA_POOLING_TYPE_CLS,
    PoolingType.LAST: llama_cpp.LLAMA_POOLING_TYPE_LAST,
}


@pytest.fixture(scope="module")
def mean(f32_path: Path) -> Iterator[Reference]:
    """The embedded model says nothing of pooling: it is the mean then."""
    llama.initialise()
    with reference(f32_path, llama_cpp.LLAMA_POOLING_TYPE_MEAN) as made:
        yield made


def test_the_mean_of_the_tokens(exact: Driver, mean: Reference) -> None:
    outcomes = exact.run(*(embed(id_, text) for id_, text in enumerate(TEXTS, 1)))
    for outcome, text in zip(outcomes, TEXTS, strict=True):
        tokens = mean.tokens(text)
        vector = unpacked(outcome.vector)
        assert same(vector, mean.vector(tokens))
        assert abs(np.linalg.norm(vector) - 1) < 1e-6
        assert outcome.started == Started(outcome.started.id, 1, len(tokens), 0)  # type: ignore[union-attr]
        assert (outcome.reason, outcome.ids, outcome.text) == ("stop", [], "")


def test_a_long_input_over_several_steps(exact: Driver, mean: Reference) -> None:
    """Beside short ones, which do not wait for it."""
    long, *short = exact.submit(embed(1, LONG), *(embed(i, t) for i, t in enumerate(TEXTS, 2)))
    exact.step(2)
    assert all(outcome.ended for outcome in short)
    assert not long.ended
    exact.run()
    assert len(mean.tokens(LONG)) > 2 * 128
    assert same(unpacked(long.vector), mean.vector(mean.tokens(LONG)))


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda pooling: str(pooling.name))
def test_pooling_as_the_model_says(
    f32_model: Model, f32_path: Path, pooling: PoolingType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several steps, so that the first and the last token are in different ones."""
    monkeypatch.setattr(llama_cpp, "llama_pooling_type", lambda _: POOLINGS[pooling])
    with driver(f32_model, f32_path, exact=True) as made:
        outcomes = made.run(embed(1, LONG), embed(2, "x"), embed(3, TEXTS[3]))
    with reference(f32_path, POOLINGS[pooling]) as direct:
        for outcome, text in zip(outcomes, (LONG, "x", TEXTS[3]), strict=True):
            assert same(unpacked(outcome.vector), direct.vector(direct.tokens(text)))


def test_token_ids_and_dimensions(exact: Driver, mean: Reference) -> None:
    tokens = mean.tokens(TEXTS[0])
    whole, ids, short = exact.run(
        embed(1, TEXTS[0]), embed(2, tokens), embed(3, tokens, dimensions=10)
    )
    assert same(unpacked(ids.vector), unpacked(whole.vector))
    part = unpacked(whole.vector)[:10]
    assert same(unpacked(short.vector), part / np.linalg.norm(part))


@pytest.mark.parametrize("id_", [-1, "n_vocab", 2**31 - 1])
def test_an_id_that_is_none(exact: Driver, f32_model: Model, id_: int | str) -> None:
    wrong = f32_model.n_vocab if isinstance(id_, str) else id_
    with pytest.raises(InputRefused, match=f"'input'.* not {wrong}") as refused:
        exact.submit(embed(1, [5, wrong]))
    assert (refused.value.code, refused.value.param) == (BAD_PROMPT, "input")


def test_the_longest_input(exact: Driver, mean: Reference) -> None:
    """All cells, and not one more: there is no completion to leave room for."""
    assert exact.shape is not None
    longest = exact.shape.longest
    assert longest == 512
    (outcome,) = exact.run(embed(1, [7] * longest))
    assert same(unpacked(outcome.vector), mean.vector([7] * longest))
    with pytest.raises(
        InputRefused, match=r"512 tokens. However, your input resulted in 513 tokens"
    ) as refused:
        exact.submit(embed(2, [7] * (longest + 1)))
    assert (refused.value.code, refused.value.param) == (CONTEXT_OVERFLOW, "input")


def test_more_than_the_cells_hold(exact: Driver, mean: Reference) -> None:
    """Inputs wait for cells, those of a higher priority in front, and none is put back."""
    outcomes = exact.submit(*(embed(i, [i] * 300, priority=float(i)) for i in range(1, 5)))
    order: list[int] = []
    while exact.busy:
        exact.step()
        ended = [i for i, outcome in enumerate(outcomes, 1) if outcome.ended and i not in order]
        order += ended
    assert order == [4, 3, 2, 1]
    for id_, outcome in enumerate(outcomes, 1):
        assert same(unpacked(outcome.vector), mean.vector([id_] * 300))


def test_beside_generations(exact: Driver, mean: Reference) -> None:
    """Their texts are the same, they go on in each step, and the vectors come."""
    alone = [exact.alone(generate(id_, text)).text for id_, text in enumerate(TEXTS[:2], 11)]
    running = exact.submit(*(generate(id_, text) for id_, text in enumerate(TEXTS[:2], 21)))
    exact.step(2)
    vectors = exact.submit(embed(1, LONG), embed(2, TEXTS[3]))
    while not all(vector.ended for vector in vectors):
        before = [len(outcome.ids) for outcome in running]
        exact.step()
        assert [len(outcome.ids) for outcome in running] == [count + 1 for count in before]
    exact.run()
    assert [outcome.text for outcome in running] == alone
    assert same(unpacked(vectors[0].vector), mean.vector(mean.tokens(LONG)))


def test_prompts_that_fill_every_step_leave_something(exact: Driver) -> None:
    """Prefill takes the whole budget of 128; inputs to embed get a quarter as much beside it."""
    exact.submit(generate(1, LONG + LONG[: len(LONG) // 2]))
    exact.step()
    (vector,) = exact.submit(embed(2, [7] * 64))
    exact.step()
    assert not vector.ended, "no more than a quarter"
    exact.step()
    assert exact.sent[-1].load is not None
    assert exact.sent[-1].load.decode_tokens == 0, "the prompt is still being computed"
    assert vector.ended
    exact.run()


def test_cancelled(exact: Driver) -> None:
    """In the middle, and before it had cells."""
    first, second = exact.submit(embed(1, [5] * 400), embed(2, [6] * 400))
    exact.step()
    assert exact.embedder.cells
    exact.cancel(1)
    exact.cancel(2)
    exact.step()
    assert (first.reason, second.reason) == ("cancelled", "cancelled")
    assert exact.embedder.cells == 0
    assert not exact.busy


def test_parked_it_starts_again(exact: Driver, mean: Reference) -> None:
    tokens = list(range(20, 420))
    request = embed(1, tokens)
    (outcome,) = exact.submit(request)
    exact.step()
    exact.park(1)
    exact.step()
    assert outcome.parked == 1
    assert exact.embedder.cells == 0, "it keeps nothing"
    exact.inbox.put(Cancel(9))  # nobody's
    exact.unpark(request)
    exact.run()
    assert same(unpacked(outcome.vector), mean.vector(tokens))


def test_a_batch_that_fails(
    exact: Driver, mean: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its inputs is tried alone, and only the one that fails alone is failed.

    One has been computed in part by then, and starts again.
    """
    real = EmbeddingContext.embed

    def embed_or_fail(self: EmbeddingContext, chunks: Chunks) -> list[Rows] | None:
        return None if any(13 in tokens for _, _, tokens, _ in chunks) else real(self, chunks)

    monkeypatch.setattr(EmbeddingContext, "embed", embed_or_fail)
    tokens = list(range(20, 320))
    (good,) = exact.submit(embed(1, tokens))
    exact.step()
    bad, other = exact.run(embed(2, [12, 13]), embed(3, [7]))
    assert bad.failure is not None
    assert bad.failure.code == COMPUTE_FAILED
    assert same(unpacked(good.vector), mean.vector(tokens))
    assert same(unpacked(other.vector), mean.vector([7]))


def test_numbers_that_are_none(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EmbeddingContext.embed

    def broken(self: EmbeddingContext, chunks: Chunks) -> list[Rows] | None:
        return [rows * np.nan for rows in real(self, chunks) or []]

    monkeypatch.setattr(EmbeddingContext, "embed", broken)
    (outcome,) = exact.run(embed(1, "x"))
    assert outcome.failure is not None
    assert "not made of numbers" in outcome.failure.message


def test_no_room_for_a_context(exact: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests are told; generations go on; and the next one tries again."""

    def fail(*_: object) -> None:
        raise LoadFailed("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(exact.embedder, "_make", fail)
        vector, text = exact.run(embed(1, "x"), generate(2, "x", max_tokens=2))
    assert vector.failure is not None
    assert vector.failure.code == COMPUTE_FAILED
    assert text.reason == "length"
    (again,) = exact.run(embed(3, "x"))
    assert again.vector


# ------------------------------------------------------------------ encoders


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder") / "bert.gguf"
    encoder(path, PoolingType.CLS)
    return path


WORDS = ["hello world", "a", "the quick brown fox", "z" * 20]


@pytest.mark.parametrize("pooling", POOLINGS, ids=lambda pooling: str(pooling.name))
def test_an_encoder(tmp_path: Path, pooling: PoolingType) -> None:
    """Its tokens look to both sides: an input is never cut, even if longer than a step."""
    path = tmp_path / "bert.gguf"
    encoder(path, pooling)
    with loaded(path) as model, driver(model, path, exact=True, batch=16) as made:
        assert made.shape is not None
        assert made.shape.whole
        assert made.shape.longest == CONTEXT
        texts = [*WORDS, "word " * 12, "x" * (CONTEXT - 2)]
        outcomes = made.run(*(embed(id_, text) for id_, text in enumerate(texts, 1)))
    with reference(path, POOLINGS[pooling]) as direct:
        for outcome, text in zip(outcomes, texts, strict=True):
            vector = unpacked(outcome.vector)
            assert vector.shape == (WIDTH,)
            assert same(vector, direct.vector(direct.tokens(text)))


def test_an_encoder_does_not_generate(bert: Path) -> None:
    with loaded(bert) as model, driver(model, bert) as made:
        with pytest.raises(InputRefused, match="does not generate text") as refused:
            made.submit(generate(1, "hello"))
        assert refused.value.code == NOT_SUPPORTED
        with pytest.raises(
            InputRefused, match=r"64 tokens. However, your input resulted in 65 tokens"
        ):
            made.submit(embed(2, "x" * (CONTEXT - 1)))


def test_an_input_that_may_be_cut_loses_its_end(bert: Path) -> None:
    """But for the token that ends every input."""
    with loaded(bert) as model, driver(model, bert, exact=True) as made:
        tokens = model.tokenize("x" * CONTEXT)
        assert len(tokens) > CONTEXT
        assert model.is_control(tokens[-1])
        (outcome,) = made.run(embed(1, "x" * CONTEXT, cut=True))
    with reference(bert, POOLINGS[PoolingType.CLS]) as direct:
        expected = direct.vector([*tokens[: CONTEXT - 1], tokens[-1]])
    assert same(unpacked(outcome.vector), expected)


def test_a_plain_end_is_cut_too(exact: Driver, mean: Reference) -> None:
    assert exact.shape is not None
    tokens = mean.tokens(LONG * 3)
    assert len(tokens) > exact.shape.longest
    (outcome,) = exact.run(embed(1, LONG * 3, cut=True))
    assert same(unpacked(outcome.vector), mean.vector(tokens[: exact.shape.longest]))
