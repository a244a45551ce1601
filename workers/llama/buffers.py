"""The buffers that llama.cpp has for weights, and tensors that are put into another one.

llama_cpp declares the field and the structure's name alone; the functions of ggml are found through
what libllama is linked to.
"""

import ctypes
from collections.abc import Sequence

import llama_cpp

from workers.llama.library import LoadFailed


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override of llama.h."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer", ctypes.c_void_p))


def overrides(said: Sequence[tuple[str, str]]) -> ctypes.Array[_Override]:
    """Return the array of patterns and buffers, ended by one without a pattern.

    Raises :class:`LoadFailed` for a buffer that there is none of.
    """
    known = _known()
    array = (_Override * (len(said) + 1))()
    for entry, (pattern, buffer) in zip(array, said, strict=False):
        if buffer not in known:
            names = ", ".join(known)
            raise LoadFailed(f"--override-tensor: there is no buffer {buffer!r}, but {names}")
        entry.pattern, entry.buffer = pattern.encode(), known[buffer]
    return array


def _known() -> dict[str, int]:
    """Return the buffers of all devices, by their names."""
    ggml: ctypes.CDLL = llama_cpp.llama_cpp._lib
    for name, takes, gives in (
        ("ggml_backend_dev_count", [], ctypes.c_size_t),
        ("ggml_backend_dev_get", [ctypes.c_size_t], ctypes.c_void_p),
        ("ggml_backend_dev_buffer_type", [ctypes.c_void_p], ctypes.c_void_p),
        ("ggml_backend_buft_name", [ctypes.c_void_p], ctypes.c_char_p),
    ):
        function = getattr(ggml, name)
        function.argtypes, function.restype = takes, gives
    devices = [ggml.ggml_backend_dev_get(at) for at in range(ggml.ggml_backend_dev_count())]
    found = [ggml.ggml_backend_dev_buffer_type(device) for device in devices]
    return {ggml.ggml_backend_buft_name(each).decode(): each for each in found if each}
