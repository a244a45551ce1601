"""Batches of embeddings: rows of media in place of tokens.

llama.cpp takes tokens or embeddings in one batch, never both. A row of M-RoPE has four places: in
time, down, across, and one that no model here uses.
"""

import ctypes
from typing import NamedTuple

import llama_cpp
import numpy as np

from workers.llama import barriers
from workers.llama.model import Model

MROPE = (llama_cpp.LLAMA_ROPE_TYPE_MROPE, llama_cpp.LLAMA_ROPE_TYPE_IMROPE)
PLACES = 4


class RowsSlice(NamedTuple):
    """Rows of one medium that a step computes."""

    sequence: int
    base: int
    """Position of the medium's first row."""
    first: int
    """The first of its rows that is computed."""
    size: int
    """Number of rows that are computed."""
    total: int
    """Rows of the medium."""
    values: bytes
    """Of all its rows, float32."""
    places: bytes
    """Places of all its rows; see :class:`workers.media.messages.MediumRows`."""
    causal: bool
    result: bool
    """True: logits after the last row are wanted."""


class RowsBatch:
    """Computes slices of media in contexts of one model."""

    def __init__(self, model: Model) -> None:
        self._width = int(llama_cpp.llama_model_n_embd_inp(model.handle))
        self._places = PLACES if llama_cpp.llama_model_rope_type(model.handle) in MROPE else 1

    def decode(self, handle: llama_cpp.llama_context_p, rows: RowsSlice) -> int:
        """Compute a slice; the result is as of :meth:`workers.llama.context.Context.decode`."""
        count, width = rows.size, self._width
        start = 4 * width * rows.first
        values = np.frombuffer(rows.values, np.float32, count * width, start)
        positions = self._positions(rows)
        sequence = np.full(count, rows.sequence, np.int32)
        ones = np.ones(count, np.int32)
        wanted = np.zeros(count, np.int8)
        wanted[-1] = rows.result
        int32_p = ctypes.POINTER(ctypes.c_int32)
        first = sequence.ctypes.data
        pointers = (int32_p * count)(*(ctypes.cast(first + 4 * i, int32_p) for i in range(count)))
        batch = llama_cpp.llama_batch(
            n_tokens=count,
            token=None,
            embd=values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=positions.ctypes.data_as(int32_p),
            n_seq_id=ones.ctypes.data_as(int32_p),
            seq_id=pointers,
            logits=wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )
        barriers.computing()
        if rows.causal:
            return int(llama_cpp.llama_decode(handle, batch))
        llama_cpp.llama_set_causal_attn(handle, False)
        try:
            return int(llama_cpp.llama_decode(handle, batch))
        finally:
            llama_cpp.llama_set_causal_attn(handle, True)

    def _positions(self, rows: RowsSlice) -> "np.ndarray[tuple[int, ...], np.dtype[np.int32]]":
        """Return the places of the slice's rows, all of one kind before those of the next."""
        first, count = rows.first, rows.size
        if not rows.places:
            flat = np.arange(rows.base + first, rows.base + first + count, dtype=np.int32)
            return np.tile(flat, self._places)
        places = np.frombuffer(rows.places, np.int32).reshape(PLACES - 1, rows.total)
        found = np.zeros((PLACES, count), np.int32)
        found[:-1] = places[:, first : first + count] + rows.base
        return found.reshape(-1)
