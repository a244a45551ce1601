"""llama.cpp's quantiser, and how ggml unpacks weights."""

import ctypes
import os
import re
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from workers.llama.library import initialise
from workers.protocol.jobs import Shrink

TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]\s+(\S+)")
"""The start of llama.cpp's log line for each tensor."""
ERROR_LEVEL = 4


class ShrinkFailed(Exception):
    """A model can't be written as another type; the text is the reason, in one line."""


def shrink(job: Shrink, tick: Callable[[int, int, str], None]) -> None:
    """Write the file. ``tick`` is told tensors done, tensors in all, and which is next.

    Raises :class:`ShrinkFailed`; then the target may be there in part.
    """
    errors = list[str]()

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def hear(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        line = text.decode("utf-8", "replace").strip()
        found = TENSOR.match(line)
        if found is not None:
            tick(int(found[1]) - 1, int(found[2]), found[3])
        elif level == ERROR_LEVEL and line.strip("="):
            errors.append(" ".join(line.split()))

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = job.file_type
    params.nthread = job.threads
    params.pure = job.pure
    params.allow_requantize = job.requantize
    llama_cpp.llama_log_set(hear, ctypes.c_void_p(0))
    source, target = os.fsencode(job.source), os.fsencode(job.target)
    status = llama_cpp.llama_model_quantize(source, target, ctypes.byref(params))
    initialise()  # or the log would go to a callback that is gone
    if status:
        said = errors[-1] if errors else f"llama.cpp gave up with {status}"
        raise ShrinkFailed(said.partition("failed to quantize: ")[2] or said)


class _Traits(ctypes.Structure):
    """ggml_type_traits of ggml.h, as far as it is needed."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


class Packing:
    """A tensor type's packing of weights: blocks of ``block`` weights in ``size`` bytes."""

    def __init__(self, type_: int) -> None:
        """``type_``: ggml's number of the type."""
        # llama_cpp does not declare it; it is found through what libllama is linked to.
        get = llama_cpp.llama_cpp._lib.ggml_get_type_traits
        get.argtypes, get.restype = [ctypes.c_int], ctypes.POINTER(_Traits)
        self._traits: Any = get(type_).contents
        self.block = int(self._traits.blck_size)
        self.size = int(self._traits.type_size)

    def floats(self, packed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the weights of whole blocks."""
        if not self._traits.to_float:  # they are floats
            return packed.view(np.float32)
        count = len(packed) // self.size * self.block
        found = np.empty(count, np.float32)
        self._traits.to_float(packed.ctypes.data, found.ctypes.data, count)
        return found
