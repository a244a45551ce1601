"""What is reckoned before loading, against what llama.cpp says when it has loaded."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gguf import PoolingType

from gateway.config.config import Config
from gateway.model_files import gguf, memory_check
from gateway.model_files.memory_estimate import (
    AUTO_CTX_SEQ,
    LONGEST_INPUT,
    MAX_SEQUENCES,
    STEP_LOGITS_BYTES,
    need,
)
from tests.support.architectures import ARCHITECTURES, write
from tests.support.encoder import encoder
from tests.support.server import MODEL
from workers.llama import context
from workers.protocol import WorkerSpec

MIB = 1 << 20
LOADS = """
import logging, sys, msgspec
from workers import llama
from workers.protocol import WorkerSpec
logging.basicConfig(level=logging.DEBUG, format="%(message)s", stream=sys.stdout)
llama.initialise()
spec = msgspec.json.decode(sys.argv[1], type=WorkerSpec)
model = llama.Model(spec)
llama.Context(model, spec, llama.sequences(model, spec))
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


def reported(spec: WorkerSpec) -> dict[str, float]:
    """Bytes of llama.cpp's buffers, by its names for them."""
    command = [sys.executable, "-c", LOADS, msgspec.json.encode(spec).decode()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    found = dict[str, float]()
    for name, size in re.findall(r"(\w+) buffer size = +([\d.]+) MiB", done.stdout):
        found[name] = found.get(name, 0) + float(size) * MIB
    return found


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("made", MODELS.values(), ids=MODELS)
def test_the_sizes_are_llama_cpps(
    made: Callable[[Path], object], options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    made(path)
    if made is MODELS["encoder"]:  # its heads are too narrow for the blocks of a q8_0 cache
        options = {name: value for name, value in options.items() if "cache" not in name}
    spec = Config(model=path, tuned="off", **options).worker_spec()
    ours = need(gguf.read(path), spec, 1, memory_check.processor())
    theirs = reported(spec)
    rounding = 0.011 * MIB
    weights = theirs["model"]
    held = ours.mapped if spec.mmap else ours.worker.weights
    assert (ours.mapped == 0) is not spec.mmap
    assert held + ours.worker.repacked == pytest.approx(weights, abs=rounding)
    assert ours.worker.cells == pytest.approx(theirs.get("KV", 0), abs=2 * rounding)
    assert ours.worker.states == pytest.approx(theirs.get("RS", 0), abs=rounding)
    assert ours.worker.logits >= theirs["output"] - rounding
    # Never less, and not so much more that models are refused for nothing.
    assert theirs["compute"] <= ours.worker.compute <= 1.3 * theirs["compute"] + 4 * MIB


def test_the_rules_are_the_workers() -> None:
    assert context.AUTO_CTX_SEQ == AUTO_CTX_SEQ
    assert context.STEP_LOGITS_BYTES == STEP_LOGITS_BYTES
    assert context.MAX_SEQUENCES == MAX_SEQUENCES
    assert context.LONGEST_INPUT == LONGEST_INPUT
