"""Models with random weights: a small one of every part is made, loaded and generates."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from gguf import LlamaFileType
from rich.console import Console
from rich.progress import Progress

from bench.models import SHAPES, Shape, cache, model, write
from bench.quantise import quantise
from bench.vocabulary import CONTROL, SMALLEST, byte_letters, vocabulary
from tests.support.engine_driver import driver, generate, loaded

TINY = Shape(2, 256, 4, 2, 256, 1024, 512, 1e4, LlamaFileType.MOSTLY_Q4_K_M)


def bar() -> Progress:
    return Progress(console=Console(quiet=True))


def test_it_loads_and_generates(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    write("tiny", TINY, path, bar())
    assert [*tmp_path.iterdir()] == [path], "parts stayed behind"
    with loaded(path) as made, driver(made, path) as engine:
        info = made.info("tiny", 512)
        assert (info.n_vocab, info.n_embd, info.n_ctx_train) == (1024, 256, 512)
        words = ("cafi", "doge", "lubi")
        (outcome,) = engine.run(generate(1, "".join(f" {word}" for word in words)))
    assert outcome.started is not None
    assert len(words) <= outcome.started.prompt_tokens <= 2 * len(words)
    assert len(outcome.ids) == 24
    assert outcome.text.isascii()
    assert not set(outcome.ids) & set(vocabulary(1024, "tiny").rare)


def test_the_same_name_gives_the_same_file(tmp_path: Path) -> None:
    hashes = []
    for number, name in enumerate(("one", "one", "other")):
        write(name, TINY, path := tmp_path / f"{number}.gguf", bar())
        hashes.append(hashlib.sha256(path.read_bytes()).digest())
    assert hashes[0] == hashes[1] != hashes[2]


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    (name, *_) = SHAPES
    (tmp_path / f"{name}.gguf").write_bytes(b"there")
    assert model(name, tmp_path, bar()).read_bytes() == b"there"
    with pytest.raises(KeyError):
        model("none", tmp_path, bar())


def test_a_failure_is_told_with_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "rubbish.gguf").write_bytes(b"rubbish")
    with pytest.raises(RuntimeError, match=r"can't quantise .*rubbish\.gguf:\n.*magic"):
        quantise(tmp_path / "rubbish.gguf", tmp_path / "out.gguf", 7, lambda *_: None)


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "forge" / "bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache() == Path.home() / ".cache" / "forge" / "bench"


@pytest.mark.parametrize("size", [SMALLEST, 2048, 49_152, 128_256])
def test_every_token_is_reached_by_merges(size: int) -> None:
    made = vocabulary(size, "a")
    assert len(made.tokens) == len(set(made.tokens)) == size
    assert made.tokens[-len(CONTROL) :] == [*CONTROL]
    known = set(byte_letters())
    for merge in made.merges:
        left, right = merge.split(" ")
        assert {left, right} <= known
        known.add(left + right)
    assert known == set(made.tokens) - set(CONTROL)


def test_a_vocabulary_has_bounds() -> None:
    for size in (SMALLEST - 1, 10_000_000):
        with pytest.raises(ValueError, match="a vocabulary has"):
            vocabulary(size, "a")


def test_shapes_are_those_of_the_models_they_stand_for() -> None:
    def parameters(shape: Shape) -> int:
        return sum(rows * (columns[0] if columns else 1) for _, (rows, *columns) in shape.tensors())

    assert parameters(SHAPES["135m-q8_0"]) == 134_515_008
    assert parameters(SHAPES["1b-q4_k_m"]) == 1_235_814_400
