"""Files of adapters: those that fit a model, those that don't, and damaged ones.

What passes must not end a worker: llama.cpp takes some things for granted, and aborts.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from gguf import GGUFValueType, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.config import EMBEDDED_MODEL
from gateway.model_files import gguf, lora
from gateway.model_files.lora import Unfit
from tests.support import architectures
from tests.support.adapters import ATTENTION, Lora, random_lora

MODEL = gguf.read(EMBEDDED_MODEL)
Q = "blk.0.attn_q.weight"


def small() -> Lora:
    return random_lora(EMBEDDED_MODEL, 1, tensors=ATTENTION[:1])


def reason(path: Path, model: gguf.Gguf = MODEL) -> str:
    with pytest.raises(Unfit) as caught:
        lora.read(path, model)
    return str(caught.value)


def test_facts(tmp_path: Path) -> None:
    metadata = {
        "adapter.lora.task_name": "law",
        "adapter.lora.prompt_prefix": "Answer: ",
        "adapter.alora.invocation_tokens": [5, 6, 7],
    }
    made = random_lora(EMBEDDED_MODEL, 1, rank=3, alpha=6.0, metadata=metadata)
    facts = lora.read(made.write(tmp_path / "a.gguf"), MODEL)
    assert facts == lora.LoraFacts(3, 6.0, len(made.matrices), "law", "Answer: ", (5, 6, 7))


def test_of_a_mixture(tmp_path: Path) -> None:
    """Experts have matrices of their own, as many as the model."""
    path = tmp_path / "moe.gguf"
    architectures.write("qwen3moe", EMBEDDED_MODEL, path)
    model = gguf.read(path)
    made = random_lora(path, 1, tensors=("ffn_up_exps.weight", "ffn_down_exps.weight"))
    assert lora.read(made.write(tmp_path / "a.gguf"), model).rank == 4
    fewer = {name: (a[:2], b[:2]) for name, (a, b) in made.matrices.items()}
    assert "shapes" in reason(Lora("qwen3moe", fewer).write(tmp_path / "b.gguf"), model)


Change = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def changed(of_a: Change = np.array, of_b: Change = np.array) -> Lora:
    a, b = small().matrices[Q]
    return Lora("llama", {Q: (of_a(a), of_b(b))})


WRONG: dict[str, tuple[Callable[[], Lora], str]] = {
    "architecture": (lambda: Lora("qwen2", small().matrices), "architecture 'qwen2'"),
    "a's width": (lambda: changed(of_a=lambda x: x[:, :-1]), "shapes"),
    "b's height": (lambda: changed(of_b=lambda x: x[:-1]), "shapes"),
    "two ranks": (lambda: changed(of_a=lambda x: x[:-1]), "shapes"),
    "transposed": (lambda: changed(of_a=np.transpose, of_b=np.transpose), "shapes"),
    "no rank": (lambda: changed(of_a=lambda x: x[:0], of_b=lambda x: x[:, :0]), "rank"),
    "a large rank": (
        lambda: changed(of_a=lambda x: np.resize(x, (5000, x.shape[1])),
                        of_b=lambda x: np.resize(x, (x.shape[0], 5000))),
        "rank 5000",
    ),
    "another tensor": (
        lambda: Lora("llama", {"blk.99.attn_q.weight": small().matrices[Q]}), "blk.99"
    ),
    "embeddings that are the output": (
        lambda: Lora("llama", {"token_embd.weight": small().matrices[Q]}), "token_embd"
    ),
    "nothing": (lambda: Lora("llama", {}), "changes nothing"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_told(tmp_path: Path, what: str) -> None:
    make, words = WRONG[what]
    assert words in reason(make().write(tmp_path / "a.gguf"))


USUAL = [
    ("general.type", "adapter", GGUFValueType.STRING),
    ("adapter.type", "lora", GGUFValueType.STRING),
]


def write(path: Path, keys: Sequence[tuple[str, Any, GGUFValueType]], *tensors: Any) -> Path:
    writer = GGUFWriter(path, "llama")
    for key, value, kind in keys:
        array = GGUFValueType.UINT32 if kind is GGUFValueType.ARRAY else None
        writer.add_key_value(key, value, kind, array)
    for name, values in tensors:
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def pair() -> list[tuple[str, Any]]:
    a, b = small().matrices[Q]
    return [(f"{Q}.lora_a", a), (f"{Q}.lora_b", b)]


Keys = list[tuple[str, Any, GGUFValueType]]
TEXT, DOUBLE, FLOAT = GGUFValueType.STRING, GGUFValueType.FLOAT64, GGUFValueType.FLOAT32
ALPHA = "adapter.lora.alpha"
KEYS: dict[str, tuple[Keys, str]] = {
    "a model": ([("general.type", "model", TEXT)], "general.type"),
    "no type": ([], "general.type"),
    "a type that is no text": ([("general.type", 1, GGUFValueType.UINT32)], "general.type"),
    "another kind": (
        [("general.type", "adapter", TEXT), ("adapter.type", "cvec", TEXT)],
        "'cvec'",
    ),
    "alpha as a double": ([*USUAL, (ALPHA, 8.0, DOUBLE)], ALPHA),
    "alpha as a text": ([*USUAL, (ALPHA, "8", TEXT)], ALPHA),
    "alpha that is none": ([*USUAL, (ALPHA, float("nan"), FLOAT)], ALPHA),
    "an invocation that is none": (
        [*USUAL, ("adapter.alora.invocation_tokens", [10**6], GGUFValueType.ARRAY)],
        "invocation_tokens",
    ),
}


@pytest.mark.parametrize("what", KEYS)
def test_keys_that_no_adapter_has(tmp_path: Path, what: str) -> None:
    keys, words = KEYS[what]
    assert words in reason(write(tmp_path / "a.gguf", keys, *pair()))


def test_tensors_that_no_adapter_has(tmp_path: Path) -> None:
    a, b = pair()
    for tensors, words in (
        ([a], "only one"),
        ([b], "only one"),
        ([a, b, ("blk.0.attn_q.weight", np.zeros((4, 4), np.float32))], "neither"),
        ([(a[0], np.zeros(a[1].shape, np.int32)), b], "type I32"),
        ([(a[0], np.zeros((2, 2, 2, 2, 4), np.float32)), b], "dimensions"),
    ):
        assert words in reason(write(tmp_path / "a.gguf", USUAL, *tensors))
    norm = ("blk.0.attn_norm.weight", np.zeros(4, np.float32))
    assert lora.read(write(tmp_path / "a.gguf", USUAL, a, b, norm), MODEL).rank == 4


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = small().write(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "a.gguf"
    for data, words in (
        (b"", "empty"),
        (b"GGUF", "damaged"),
        (whole[:100], "damaged"),
        (whole[:-1], "cut off"),
        (b"JUNK" + whole[4:], "not a GGUF"),
    ):
        path.write_bytes(data)
        assert words in reason(path)
    assert "can't read" in reason(tmp_path / "nothing.gguf")
    assert "convert_lora_to_gguf" in reason(tmp_path / "adapter_model.safetensors")
    assert "general.type" in reason(EMBEDDED_MODEL), "a model is no adapter"


@cache
def _whole() -> bytes:
    """The bytes of a sound adapter."""
    metadata = {"adapter.lora.task_name": "law", "adapter.alora.invocation_tokens": [5, 6]}
    with TemporaryDirectory() as folder:
        made = random_lora(EMBEDDED_MODEL, 1, tensors=ATTENTION[:2], metadata=metadata)
        return made.write(Path(folder) / "a.gguf").read_bytes()


@cache
def _header() -> int:
    """The bytes of its header."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.gguf"
        path.write_bytes(_whole())
        return min(tensor.offset for tensor in gguf.contents(path))


DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=300)
@given(DAMAGE)
def test_damage_is_an_error_or_none(damage: list[tuple[float, int]]) -> None:
    """Nothing but Unfit is raised, whatever bytes of the header are."""
    data = bytearray(_whole())
    for place, value in damage:
        data[int(place * (_header() - 1))] = value
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.gguf"
        path.write_bytes(data)
        with contextlib.suppress(Unfit):
            lora.read(path, MODEL)


CHILD = """
import sys
from pathlib import Path
from tests.support.adapters import adapter_file
from tests.support.engine_driver import driver, generate, loaded
from workers.llama import AdapterFailed

model_path, folder = map(Path, sys.argv[1:])
with loaded(model_path) as model, driver(model, model_path) as made:
    for path in sorted(folder.glob("*.gguf")):
        try:
            model.adapters.load(adapter_file(path))
        except AdapterFailed:
            continue
        made.run(generate(1, "Once", max_tokens=2, adapters=((path.stem, 1.0),)))
        model.adapters.unload(path.stem)
print("alive")
"""


def test_what_passes_ends_no_worker(tmp_path: Path) -> None:
    """Random damage of headers: llama.cpp loads or refuses what got past this check."""
    random, whole, passed = np.random.default_rng(7), _whole(), 0
    for at in range(1500):
        data = bytearray(whole)
        for _ in range(random.integers(1, 3)):
            data[int(random.integers(0, _header()))] ^= int(random.integers(1, 256))
        path = tmp_path / f"{at:04}.gguf"
        path.write_bytes(data)
        try:
            lora.read(path, MODEL)
            passed += 1
        except Unfit:
            path.unlink()
    assert passed > 20
    command = [sys.executable, "-c", CHILD, str(EMBEDDED_MODEL), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr[-2000:]
