"""The thin layer over llama.cpp: loading, tokens, pieces, samplers."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import spec
from workers.llama import Context, LoadFailed, Model, geometries
from workers.planning.geometry import Geometry

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("text", ["Once upon a time", " 2+2 = 4\n", "ünïcödé 🙂", "a\0b", ""])
def test_tokens_give_the_text_back(f16_model: Model, text: str) -> None:
    tokens = f16_model.tokenize(text)
    assert b"".join(f16_model.pieces[token] for token in tokens) == text.encode()
    assert all(0 <= token < f16_model.n_vocab for token in tokens)


def test_special_tokens(f16_model: Model) -> None:
    for which in ("bos", "eos"):
        text = f16_model.special_text(which)
        (token,) = f16_model.tokenize(text)
        assert f16_model.pieces[token] == b"", "control tokens are not shown"
    assert f16_model.eog
    (end,) = f16_model.tokenize(f16_model.special_text("eos"))
    assert end in f16_model.eog


def test_info(f16_model: Model) -> None:
    info = f16_model.info("name", n_ctx=300)
    assert (info.name, info.n_ctx, info.n_ctx_seq) == ("name", 300, 300)
    assert f16_model.info("name", n_ctx=10**6).n_ctx_seq == info.n_ctx_train
    assert info.longest_piece == max(map(len, f16_model.pieces))
    assert info.n_vocab == len(f16_model.pieces)
    assert info.n_params > 10**5
    assert 0 < info.size_bytes <= EMBEDDED_MODEL.stat().st_size
    assert "F16" in info.description
    assert f16_model.can_cut


def test_embedded_model_has_a_template(f16_model: Model) -> None:
    assert f16_model.chat_template
    assert "messages" in f16_model.chat_template


def test_context_that_llama_cpp_refuses(f16_model: Model) -> None:
    with pytest.raises(LoadFailed, match=r"can't make a context of .* tokens: ") as failed:
        Context(
            f16_model, spec(EMBEDDED_MODEL, type_v="q8_0", flash_attn="off"), Geometry(8, 512, True)
        )
    assert "flash_attn" in str(failed.value)
    assert len(str(failed.value).splitlines()) == 1


@pytest.mark.parametrize("n_ctx", [None, 32, 256, 1000])
def test_context_has_the_cells_asked_for(f16_model: Model, n_ctx: int | None) -> None:
    wanted = spec(EMBEDDED_MODEL, n_ctx=n_ctx)
    context = Context(f16_model, wanted, geometries(f16_model, wanted).base)
    try:
        expected = n_ctx or wanted.slots * min(f16_model.n_ctx_train, 4096)
        assert expected <= context.n_ctx < expected + 256, "llama.cpp rounds up"
    finally:
        context.close()


LOAD = """
import sys
from pathlib import Path
from tests.support.engine_driver import spec
from workers import llama
llama.initialise()
try:
    llama.Model(spec(Path(sys.argv[1])))
except llama.LoadFailed as error:
    print(error)
"""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def no_tensors(data: bytes) -> bytes:
    return data[:4] + (3).to_bytes(4, "little") + bytes(16)


def magic_only(data: bytes) -> bytes:
    return data[:4]


def old_version(data: bytes) -> bytes:
    return data[:4] + (99).to_bytes(4, "little") + data[8:]


def huge_counts(data: bytes) -> bytes:
    return data[:8] + b"\xff" * 16 + data[24:]


def other_architecture(data: bytes) -> bytes:
    return data.replace(b"llama", b"lemur", 1)


@pytest.mark.parametrize(
    "damage", [cut, no_tensors, magic_only, old_version, huge_counts, other_architecture]
)
def test_damaged_file_is_a_load_failure(damage: object, tmp_path: Path) -> None:
    """In a process of its own, because a crash inside llama.cpp would take pytest with it."""
    assert callable(damage)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(damage(EMBEDDED_MODEL.read_bytes()))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(broken)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{broken}: llama.cpp can't load this model: ")


def test_f32_copy_is_the_same_model(f16_model: Model, f32_model: Model) -> None:
    assert f32_model.pieces == f16_model.pieces
    assert f32_model.eog == f16_model.eog
    assert f32_model.chat_template == f16_model.chat_template
    f16, f32 = f16_model.info("m", 1), f32_model.info("m", 1)
    assert f32.n_params == f16.n_params
    assert f32.size_bytes > 1.9 * f16.size_bytes
