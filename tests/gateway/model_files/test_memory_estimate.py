"""The estimate before loading, against llama.cpp's own figures when it has loaded."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gguf import PoolingType

from gateway.config.config import Config
from gateway.model_files import gguf, memory_check
from gateway.model_files.memory_estimate import estimate
from gateway.model_files.memory_probe import MemoryProbe, NotPlanned
from tests.support.adapters import ATTENTION, adapter_file, random_lora
from tests.support.architectures import ARCHITECTURES, write
from tests.support.encoder import encoder
from tests.support.server import MODEL
from workers.protocol import AdapterFile, WorkerSpec

MIB = 1 << 20
LOADS = """
import logging, sys, msgspec
from workers import llama
from workers.protocol import AdapterFile, WorkerSpec
logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)
llama.initialise()
spec = msgspec.json.decode(sys.argv[1], type=WorkerSpec)
model = llama.Model(spec)
context = llama.Context(model, spec, llama.geometries(model, spec).base)
for file in msgspec.json.decode(sys.argv[2], type=list[AdapterFile]):
    model.adapters.load(file)
if not context.generates:
    llama.EmbeddingContext(model, spec, context.embeddings(model, spec), spec.slots)
"""
MODELS: dict[str, Callable[[Path], object]] = {
    "embedded": lambda path: path.write_bytes(MODEL.read_bytes()),
    **{name: partial(write, name, MODEL) for name in ARCHITECTURES},
    "encoder": lambda path: encoder(path, PoolingType.MEAN),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small": {"slots": "3", "ctx": "1500", "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    "no-mmap": {"slots": "2", "ctx": "1024", "mmap": False},
    "no-flash": {"slots": "2", "ctx": "4096", "batch": "256", "flash_attn": "off"},
}

COPIES = ("AMX", "CPU_REPACK")
"""ggml's names of buffers with weights in another order."""


def reported(spec: WorkerSpec, adapters: Sequence[AdapterFile] = ()) -> dict[str, float]:
    """Bytes of llama.cpp's buffers, by its names for them."""
    given = (msgspec.json.encode(each).decode() for each in (spec, adapters))
    command = [sys.executable, "-c", LOADS, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    found = dict[str, float]()
    for kind, name, size in re.findall(r"(\S+) +(\w+) buffer size = +([\d.]+) MiB", done.stdout):
        name = kind if kind in COPIES else name
        found[name] = found.get(name, 0) + float(size) * MIB
    return found


@pytest.fixture(scope="module")
def probe() -> Iterator[MemoryProbe]:
    """One process that plans for several models, as it does for a server."""
    with MemoryProbe() as probe:
        yield probe


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / f"{request.param}.gguf"
    MODELS[request.param](path)
    return path


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_sizes_are_llama_cpps(model: Path, options: dict[str, Any], probe: MemoryProbe) -> None:
    if model.stem == "encoder":  # its heads are too narrow for the blocks of a q8_0 cache
        options = {name: value for name, value in options.items() if "cache" not in name}
    spec = Config(model=model, tuned="off", **options).worker_spec()
    planned = probe.plan(spec)
    ours = estimate(gguf.read(model), spec, planned, 1, memory_check.processor())
    theirs = reported(spec)
    rounding = 0.011 * MIB
    copied = sum(theirs.get(name, 0) for name in COPIES)
    assert ours.worker.repacked == pytest.approx(copied, abs=rounding)
    assert (ours.mapped == 0) is not spec.mmap
    held = ours.mapped if spec.mmap else ours.worker.weights
    if not (spec.mmap and copied):  # all of the file is mapped, though copied pages are not read
        assert held == pytest.approx(theirs["model"], abs=rounding)
    assert ours.worker.cells == pytest.approx(theirs.get("KV", 0), abs=2 * rounding)
    assert ours.worker.states == pytest.approx(theirs.get("RS", 0), abs=rounding)
    assert ours.worker.logits == pytest.approx(theirs["output"], abs=rounding)
    assert ours.worker.compute == pytest.approx(theirs["compute"], abs=rounding)


@pytest.mark.parametrize("repack", [True, False])
def test_adapters_take_what_llama_cpp_says(repack: bool, tmp_path: Path) -> None:
    """In each worker, and once for a file that has several names."""
    one = random_lora(MODEL, 1, rank=16).write(tmp_path / "one.gguf")
    other = random_lora(MODEL, 2, rank=5, tensors=ATTENTION).write(tmp_path / "other.gguf")
    options = {
        "model": MODEL, "tuned": "off", "workers": 2, "ctx": 1024, "slots": 2, "repack": repack,
    }  # fmt: skip
    plain = Config.model_validate(options)
    config = Config.model_validate(
        {**options, "lora": str(other), "adapters": {"one": str(one), "again": str(one)}}
    )
    with MemoryProbe() as probe:
        without, with_them = (
            memory_check.wanted_by(each, gguf.read(MODEL), probe).need() for each in (plain, config)
        )
    theirs = reported(config.worker_spec(), [adapter_file(path) for path in (one, other)])
    assert theirs["LoRA"] > 0
    assert with_them.worker.adapters == pytest.approx(theirs["LoRA"], abs=0.011 * MIB)
    assert with_them.total - without.total == 2 * with_them.worker.adapters
    files = one.stat().st_size + other.stat().st_size
    assert 0.9 * files < with_them.worker.adapters < files


def test_contexts_that_are_too_long_to_plan_are_extrapolated() -> None:
    config = Config(model=MODEL, tuned="off")
    with MemoryProbe() as probe:
        short, odd, long, longest = (
            probe.plan(config.model_copy(update={"ctx": round(n * 2**20)}).worker_spec())
            for n in (1, 1.3, 2, 4)
        )
    assert longest.n_ctx == 4 << 20
    assert longest.cells == 4 * short.cells
    assert odd.cells == pytest.approx(1.3 * short.cells, rel=1e-6)
    assert longest.compute - long.compute == pytest.approx(2 * (long.compute - short.compute))


def test_a_damaged_model_has_no_plan_and_does_not_disturb_others(tmp_path: Path) -> None:
    """Also one that ends llama.cpp itself."""
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(MODEL.read_bytes()[:4096])
    with MemoryProbe() as probe:
        sound = probe.plan(Config(model=MODEL, tuned="off").worker_spec())
        with pytest.raises(NotPlanned):
            probe.plan(Config(model=damaged, tuned="off").worker_spec())
        probe.close()  # as if it had died
        assert probe.plan(Config(model=MODEL, tuned="off", ctx=2048).worker_spec()).n_ctx == 2048
        assert probe.plan(Config(model=MODEL, tuned="off").worker_spec()) == sound
