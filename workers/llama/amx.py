"""Does llama.cpp's code for AMX, the matrix unit of newer Intel CPUs, run here?

Built with GCC 12 it does not: the compiler drops what is written to the unit's configuration, and
the first product of quantised matrices ends the process with SIGSEGV or SIGILL
(github.com/ggml-org/llama.cpp/pull/26954). Virtual machines may name the unit, too, without having
it. So a product is tried, in a process whose death does no harm; where it dies or is wrong, no
weights are repacked. It takes a twentieth of a second, on machines that would use the unit.

This file is that process's program, too, and imports nothing else of Forge: its start is short.
"""

import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

AMX = "AMX"
"""The name of its buffers."""
PATIENCE_S = 20.0
CPU = 0
"""ggml's number of the kind of device."""
F32, Q8_0 = 0, 8
"""ggml's numbers of types."""
WIDTH, ROWS = 64, 32
"""The product's: weights and inputs are 1, so a sum is the width."""
BLOCK = b"\x00\x3c" + b"\x01" * 32
"""Of Q8_0: a scale of 1 in half precision, and 32 weights."""
SCRATCH = 1 << 20
"""Bytes for what ggml notes of a graph."""


class _Params(ctypes.Structure):
    """ggml_init_params."""

    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


def extra_buffers(ggml: ctypes.CDLL) -> dict[str, int]:
    """Return the kinds of memory in which the CPU's backend has weights in an order of its own.

    Their addresses by their names, such as "AMX" and "CPU_REPACK"; the first that takes a weight's
    type has it.
    """
    device = _device(ggml)
    if not device:
        return {}  # no backend could be loaded, which loading a model tells
    registry = _call(ggml, "ggml_backend_dev_backend_reg", c_void_p, device)
    find = "ggml_backend_reg_get_proc_address"
    address = _call(ggml, find, c_void_p, registry, b"ggml_backend_dev_get_extra_bufts")
    if not address:
        return {}
    listed = ctypes.CFUNCTYPE(ctypes.POINTER(c_void_p), c_void_p)(address)(device)
    found = {}
    for pointer in iter(listed):
        if not pointer:
            break
        name: bytes = _call(ggml, "ggml_backend_buft_name", c_char_p, pointer)
        found[name.decode()] = pointer
    return found


def works(library: str) -> bool:
    """Return whether weights may be repacked: there is no AMX, or it multiplies as it should.

    ``library``: path of libllama.
    """
    return survives(sys.executable, "-I", "-S", __file__, library)


@functools.cache
def survives(*command: str) -> bool:
    """Return whether a program ends well; once for each, the answer is kept."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=PATIENCE_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def product(ggml: ctypes.CDLL, buffers: int) -> list[float]:
    """Multiply a matrix of ones in such ``buffers`` with others; return all sums."""
    device = _device(ggml)
    weights, graph_memory = _memory(ggml), _memory(ggml)
    matrix = _matrix(ggml, weights, Q8_0, WIDTH)
    _call(ggml, "ggml_backend_alloc_ctx_tensors_from_buft", c_void_p, weights, buffers)
    _set(ggml, matrix, BLOCK * (WIDTH * WIDTH // 32))

    rows = _matrix(ggml, graph_memory, F32, ROWS)
    sums = _call(ggml, "ggml_mul_mat", c_void_p, graph_memory, matrix, rows)
    plain = _call(ggml, "ggml_backend_dev_buffer_type", c_void_p, device)
    _call(ggml, "ggml_backend_alloc_ctx_tensors_from_buft", c_void_p, graph_memory, plain)
    _set(ggml, rows, bytes((ctypes.c_float * (WIDTH * ROWS))(*[1.0] * (WIDTH * ROWS))))

    graph = _call(ggml, "ggml_new_graph", c_void_p, graph_memory)
    _call(ggml, "ggml_build_forward_expand", None, graph, sums)
    backend = _call(ggml, "ggml_backend_dev_init", c_void_p, device, None)
    _call(ggml, "ggml_backend_graph_compute", c_int, backend, graph)
    found = (ctypes.c_float * (WIDTH * ROWS))()
    size = c_size_t(ctypes.sizeof(found))
    _call(ggml, "ggml_backend_tensor_get", None, sums, found, c_size_t(0), size)
    return [*found]


def _device(ggml: ctypes.CDLL) -> int | None:
    found: int | None = _call(ggml, "ggml_backend_dev_by_type", c_void_p, c_int(CPU))
    return found


def _memory(ggml: ctypes.CDLL) -> int:
    found: int = _call(ggml, "ggml_init", c_void_p, _Params(SCRATCH, None, no_alloc=True))
    return found


def _matrix(ggml: ctypes.CDLL, memory: int, type_: int, rows: int) -> int:
    shape = c_int64(WIDTH), c_int64(rows)
    found: int = _call(ggml, "ggml_new_tensor_2d", c_void_p, memory, c_int(type_), *shape)
    return found


def _set(ggml: ctypes.CDLL, tensor: int, data: bytes) -> None:
    size = c_size_t(len(data))
    _call(ggml, "ggml_backend_tensor_set", None, tensor, data, c_size_t(0), size)


def _call(ggml: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    """Call a function of ggml; integers are pointers, others bring their types."""
    function: Callable[..., Any] = getattr(ggml, name)
    function.restype = result  # type: ignore[attr-defined]
    return function(*(c_void_p(each) if isinstance(each, int) else each for each in arguments))


def main() -> None:
    """Try it. A sum that is wrong is a failure, as a death is."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ggml = ctypes.CDLL(sys.argv[1])
    load_backends(ggml, Path(sys.argv[1]).parent)
    address = extra_buffers(ggml).get(AMX)
    sys.exit(0 if address is None or right(product(ggml, address)) else 1)


def right(sums: Sequence[float]) -> bool:
    """Return whether the sums are those of ones; inputs are rounded to eight bits on the way."""
    return all(abs(each - WIDTH) < 0.1 for each in sums)


def load_backends(ggml: ctypes.CDLL, folder: Path) -> None:
    """Load llama.cpp's compute backends, if it was built with these as separate libraries.

    A portable build (``GGML_BACKEND_DL``) has one for each generation of CPUs, and ggml takes the
    best for this one. By itself it looks beside the executable, which is Python, and in the working
    directory; its wheel has them in ``folder``. Other builds have a device from the start.
    """
    if _call(ggml, "ggml_backend_dev_count", c_size_t) == 0:
        _call(ggml, "ggml_backend_load_all_from_path", None, os.fsencode(folder))


if __name__ == "__main__":
    main()
