"""The trainer, from corpus to a GGUF that llama.cpp loads, at toy size."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the trainer needs the extra [train]")
pytest.importorskip("tokenizers", reason="the trainer needs the extra [train]")
pytest.importorskip("gguf", reason="the trainer needs the extra [train]")

from workers.forge_tiny import tokenizer as vocabulary  # noqa: E402
from workers.forge_tiny.asking import ServedTiny  # noqa: E402
from workers.forge_tiny.batches import Encoder, Packer  # noqa: E402
from workers.forge_tiny.corpus import stream  # noqa: E402
from workers.forge_tiny.model import TransformerShape  # noqa: E402
from workers.forge_tiny.optim import orthogonalise  # noqa: E402
from workers.forge_tiny.train import QUICK, QUICK_SHAPE, Recipe, Trainer, run  # noqa: E402

STRANGE = (
    "what is 2+2?", "  two  spaces\n\nlines\t", "don't I'LL 12½ ² Ⅷ ٣٤", "日本語 मस्ते 😀",
    "\x00\x01", "a\u00a0b\u2003c",
    "<|im_start|>user\nhi<|im_end|>\n<tool_call>\n{}\n</tool_call>",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A small vocabulary from the beginning of the corpus."""
    return vocabulary.train(QUICK.seed, QUICK_SHAPE.vocab, QUICK.tokenizer_conversations)


@pytest.fixture(scope="module")
def trained(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path]:
    """A finished quick run and its folder."""
    out = tmp_path_factory.mktemp("forge-tiny")
    trainer = Trainer(QUICK, QUICK_SHAPE, tokenizer, "cpu")
    run(trainer, out, every=QUICK.total)
    return trainer, out


def test_loss_falls(tokenizer: Any) -> None:
    """A dozen steps on one batch teach something."""
    trainer = Trainer(QUICK, QUICK_SHAPE, tokenizer, "cpu")
    batch = next(trainer.batches())
    losses = [trainer.step(batch) for _ in range(8)]
    assert losses[-1] < losses[0] - 0.5


def test_same_seed_same_weights(tokenizer: Any) -> None:
    """Two runs of three steps agree to the bit."""

    def weights() -> Any:
        trainer = Trainer(QUICK, QUICK_SHAPE, tokenizer, "cpu")
        for batch in islice(trainer.batches(), 3):
            trainer.step(batch)
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    assert torch.equal(weights(), weights())


def test_resume_continues_the_run(tokenizer: Any, tmp_path: Path) -> None:
    """A checkpoint brings back weights and place in the data."""
    first = Trainer(QUICK, QUICK_SHAPE, tokenizer, "cpu")
    for batch in islice(first.batches(), 3):
        first.step(batch)
    first.save(tmp_path)
    second = Trainer(QUICK, QUICK_SHAPE, tokenizer, "cpu")
    second.resume(tmp_path / "checkpoint.pt")
    assert second.done == 3
    a, b = next(first.batches()), next(second.batches())
    assert (a.ids == b.ids).all()
    assert first.step(a) == second.step(b)


def test_llama_cpp_agrees(trained: tuple[Trainer, Path], tokenizer: Any) -> None:
    """Same tokens and, within F16, the same logits: rotary layout, norms, tied output."""
    trainer, out = trained
    llama: Any = ServedTiny(out / "forge-tiny.gguf").llama
    for text in STRANGE:
        ids = tokenizer.encode(text).ids
        assert llama.tokenize(text.encode(), add_bos=False, special=True) == ids
    ids = tokenizer.encode("<|im_start|>user\nhow do I set the priority?<|im_end|>\n").ids
    with torch.no_grad():
        wanted = trainer.model.logits(trainer.model(torch.tensor([ids])))[0, -1]
    llama.reset()
    llama.eval(ids)
    found = torch.tensor([llama._ctx.get_logits()[i] for i in range(QUICK_SHAPE.vocab)])
    assert torch.allclose(found, wanted, atol=0.05)


def test_only_answers_are_learned(tokenizer: Any) -> None:
    """Loss weights cover the assistant's words and the end of its turn, nothing else."""
    encoder = Encoder(tokenizer)
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    ids = tokenizer.encode(text).ids
    learned = [i for i, w in zip(ids, encoder.weigh(ids), strict=True) if w]
    assert tokenizer.decode(learned, skip_special_tokens=False) == "Hello!<|im_end|>"


def test_packed_rows_hold_whole_documents(tokenizer: Any) -> None:
    """Rows have the asked length and every short row ends with a whole document."""
    encoder = Encoder(tokenizer)
    packer = Packer(encoder.documents(stream("7 test")), 128, encoder.end)
    lengths = set()
    for batch in islice(packer.batches(8), 40):
        lengths.add(batch.ids.shape)
        assert batch.ids.shape == batch.weights.shape
        # Whole documents end with their separator, and nothing but padding follows the last one.
        if batch.ids.shape[1] == 128:
            assert (batch.ids[:, -1] == encoder.end).all()
    assert lengths == {(8, 128), (4, 256)}


def test_rate_does_not_depend_on_the_total_before_the_decay() -> None:
    """A schedule that makes stopping early and resuming with another total honest."""
    short, long = Recipe(steps=1000), Recipe(steps=3000)
    flat = int(1000 * (1 - short.decay_share))
    assert all(short.rate(i) == long.rate(i) for i in range(flat))
    assert short.rate(999) < 0.01
    assert 0 < short.rate(1000 + short.warmup) <= short.last_peak
    assert short.rate(short.total) == 0


def test_row_sizes_can_be_quantised() -> None:
    """Q8_0 works on blocks of 32."""
    assert TransformerShape().width % 32 == 0
    assert TransformerShape().hidden % 32 == 0


def test_orthogonalise() -> None:
    """Singular values come close to one."""
    values = torch.linalg.svdvals(orthogonalise(torch.randn(2, 32, 48)))
    assert values.min() > 0.5
    assert values.max() < 1.5
