"""Weights are repacked only where llama.cpp's code for them runs, on the real library."""

import ctypes
import sys
from contextlib import closing
from pathlib import Path

import llama_cpp
import msgspec
import pytest

from tests.support.engine_driver import driver, generate, spec
from tests.support.server import MODEL
from workers import llama
from workers.llama import amx, library
from workers.llama.quantize import shrink
from workers.protocol.jobs import Shrink

GGML: ctypes.CDLL = llama_cpp.llama_cpp._lib
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"

llama.initialise()


def test_ggml_names_its_buffers() -> None:
    found = amx.extra_buffers(GGML)
    assert set(found) <= {"AMX", "CPU_REPACK", "CPU_KLEIDIAI", "CPU_RISCV64_SPACEMIT"}
    assert all(found.values())


def test_the_product_of_ones_is_the_width() -> None:
    """In plain memory, which every CPU has."""
    GGML.ggml_backend_cpu_buffer_type.restype = ctypes.c_void_p
    sums = amx.product(GGML, GGML.ggml_backend_cpu_buffer_type())
    assert len(sums) == amx.WIDTH * amx.ROWS
    assert amx.right(sums)
    assert not amx.right([*sums[1:], 0.0])


def test_the_trial_ends_well_without_such_a_unit_or_with_one_that_works() -> None:
    if amx.AMX not in amx.extra_buffers(GGML):
        assert amx.works(GGML._name)
    assert library.amx_fails() is not amx.works(GGML._name)


@pytest.mark.parametrize(
    ("program", "well"), [("", True), ("raise SystemExit(1)", False), (DIES, False)]
)
def test_a_program_that_dies_is_no_harm(program: str, well: bool) -> None:
    assert amx.survives(sys.executable, "-c", program) is well
    assert not amx.survives("/nowhere/python")


@pytest.mark.parametrize("kind", [llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
                                  llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_1])  # fmt: skip
def test_quantised_weights_are_computed_whatever_the_cpu_has(kind: int, tmp_path: Path) -> None:
    """Where AMX would take them: many tokens at once, and one."""
    path = tmp_path / "model.gguf"
    shrink(Shrink(str(MODEL), str(path), kind, threads=1, pure=False, requantize=False), ignored)
    model = llama.Model(msgspec.structs.replace(spec(path), repack=True))
    with closing(model), driver(model, path) as engine:
        (outcome,) = engine.run(generate(1, "some words, " * 10, max_tokens=4))
        assert len(outcome.ids) == 4


def ignored(*_: object) -> None:
    """No progress is shown."""
