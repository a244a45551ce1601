"""A picture beside streams, in the smallest form of the experiment."""

import asyncio
from pathlib import Path

import pytest
from gguf import GGUFReader

pytest.importorskip("httptools", reason="the benchmarks need the extra [bench]")

from bench.pictures.__main__ import PictureRun, measure, report, worst_gap
from bench.pictures.projector import EncoderShape
from bench.pictures.texts import report as report_texts
from bench.pictures.texts import run
from bench.pictures.vocabulary import with_tokens
from bench.serving.client import Answer
from bench.serving.settings import Settings
from bench.serving.systems import forge_itself
from gateway.config.config import EMBEDDED_MODEL
from tests.support.architectures import WIDTH
from tests.support.projectors import write_pair

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_pauses_count_while_the_picture_is_waited_for() -> None:
    asked = Answer(asked=10.0, moments=[14.0])
    before = Answer(moments=[1.0, 9.0])
    within = Answer(moments=[9.0, 10.5, 13.0, 20.0])
    assert worst_gap([before, within], asked) == 2.5
    assert worst_gap([Answer(moments=[8.0, 13.5])], asked) == 3.5, "from the picture's begin"
    assert worst_gap([before], asked) == 0.0


def test_spare_tokens_get_names(tmp_path: Path) -> None:
    source, _ = write_pair("idefics3", EMBEDDED_MODEL, tmp_path)
    model = with_tokens(source, tmp_path / "named.gguf", ["<spare>"])
    plain, named = GGUFReader(source), GGUFReader(model)
    before = plain.fields["tokenizer.ggml.tokens"].contents()
    after = named.fields["tokenizer.ggml.tokens"].contents()
    (at,) = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert after[at] == "<spare>"
    assert [each.data.tobytes() for each in named.tensors] == [
        each.data.tobytes() for each in plain.tensors
    ]
    with pytest.raises(ValueError, match="no spare tokens for"):
        with_tokens(source, tmp_path / "many.gguf", [f"<{at}>" for at in range(99)])


def test_all_dialects_say_the_same() -> None:
    pairs = asyncio.run(run(["idefics3"], None))
    assert {pair.way for pair in pairs} == {"chat", "messages", "responses", "ollama"}
    assert len({pair.mine for pair in pairs}) == 4, "each question has an answer of its own"
    assert [pair for pair in pairs if pair.mine != pair.theirs] == []
    assert f"In all {len(pairs)} of {len(pairs)}." in report_texts(pairs, "itself")


def test_a_small_run(tmp_path: Path) -> None:
    model, _ = write_pair("idefics3", EMBEDDED_MODEL, tmp_path)
    shape = EncoderShape(
        layers=1, width=64, heads=2, feed=64, tile=64, patch=8, block=2, rows=WIDTH
    )
    mmproj = shape.write(tmp_path / "mmproj-small.gguf")
    size = PictureRun(1, 2, 30, 128)
    systems = [forge_itself("forge", ["--mmproj", str(mmproj)])]
    found = asyncio.run(measure(systems, Settings(model, 3, 3 * 1024, 1, 128), size))
    (beside,) = found["forge"]
    assert beside.first_token > 0
    assert beside.prompt_tokens > 4 * 16, "the rows of five tiles, of which each has 16"
    text = report(found, size)
    assert "| forge |" in text
