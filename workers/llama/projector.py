"""libmtmd: pictures and sound to rows of embeddings, for one model and its projector (mmproj).

Only the process of :mod:`workers.media.process` uses it. The text model is loaded without weights:
libmtmd reads its vocabulary and the width of its embeddings alone.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp as mtmd
from numpy.typing import NDArray

from workers.llama.library import LoadFailed, forward_log, loading, readable
from workers.llama.model import Model
from workers.protocol import WorkerSpec

NO_FOLDER = b"/nonexistent"
"""The folder in which libmtmd would look for ffmpeg, which is never run."""


class MediumFailed(Exception):
    """libmtmd can't decode or encode a medium; the text continues a sentence about it."""


class RowsPiece(NamedTuple):
    """Rows of embeddings; as in :class:`workers.media.messages.MediumRows`."""

    size: int
    positions: int
    causal: bool
    places: bytes
    values: bytes


class Projector:
    """A loaded projector. For one thread."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Raises :class:`LoadFailed`."""
        assert spec.mmproj is not None
        self._model = Model(spec, weights=False)
        self._width = int(llama_cpp.llama_model_n_embd_inp(self._model.handle))
        mtmd.mtmd_helper_log_set(forward_log, ctypes.c_void_p(0))
        params = mtmd.mtmd_context_params_default()
        params.use_gpu = spec.n_gpu_layers != 0
        params.print_timings = False
        # Warmed up, as by default: else the encoder's attention is computed in its slower way.
        params.warmup = True
        params.n_threads = spec.threads
        params.image_min_tokens = spec.media.image_min_tokens
        params.image_max_tokens = spec.media.image_max_tokens
        with loading(readable(spec.mmproj)):
            path = os.fsencode(spec.mmproj)
            self._handle = mtmd.mtmd_init_from_file(path, self._model.handle, params)
            if not self._handle:
                raise LoadFailed("libmtmd can't load this file for the model")
        self.sees = bool(mtmd.mtmd_support_vision(self._handle))
        self.hears = bool(mtmd.mtmd_support_audio(self._handle))
        self._mrope = bool(mtmd.mtmd_decode_use_mrope(self._handle))

    def close(self) -> None:
        mtmd.mtmd_free(self._handle)
        self._model.close()

    def encode(self, data: bytes, most: int, *, rows: bool) -> list[list[int] | RowsPiece]:
        """Return a medium's pieces: tokens of text and rows. Raises :class:`MediumFailed`.

        ``most``: pixels, or samples of sound, that it may have. ``rows``: their values are wanted.
        """
        with self._bitmap(data, most) as bitmap, _chunks() as chunks:
            part = mtmd.mtmd_input_part(None, bitmap)
            parts = (ctypes.POINTER(mtmd.mtmd_input_part) * 1)(ctypes.pointer(part))
            if mtmd.mtmd_tokenize_from_parts(self._handle, chunks, parts, 1, False):
                raise MediumFailed("the model's file can't take it apart")
            found = range(mtmd.mtmd_input_chunks_size(chunks))
            return [self._piece(mtmd.mtmd_input_chunks_get(chunks, at), rows=rows) for at in found]

    @contextmanager
    def _bitmap(self, data: bytes, most: int) -> Iterator[int]:
        options = mtmd.mtmd_helper_init_opt_default()
        options.video_params.ffmpeg_bin_dir = NO_FOLDER
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        made = mtmd.mtmd_helper_bitmap_init_from_buf_wrapper(
            self._handle, buffer, len(data), False, options
        )
        if made.video_ctx:
            mtmd.mtmd_helper_video_free(made.video_ctx)
        if not made.bitmap:
            raise MediumFailed("it is damaged")
        try:
            size = mtmd.mtmd_bitmap_get_nx(made.bitmap) * mtmd.mtmd_bitmap_get_ny(made.bitmap)
            if not 0 < size <= most:
                raise MediumFailed("its content is larger than its header says")
            yield made.bitmap
        finally:
            mtmd.mtmd_bitmap_free(made.bitmap)

    @property
    def sample_rate(self) -> int:
        """Return the samples per second that sound is made into; 0 if it takes none."""
        return max(0, int(mtmd.mtmd_get_audio_sample_rate(self._handle)))

    def _piece(self, chunk: int, *, rows: bool) -> list[int] | RowsPiece:
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            return self._text(chunk)
        count = int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))
        positions = int(mtmd.mtmd_input_chunk_get_n_pos(chunk))
        places = self._places(chunk, count) if self._mrope else b""
        causal = not mtmd.mtmd_decode_use_non_causal(self._handle, chunk)
        values = self._values(chunk, count) if rows else b""
        return RowsPiece(count, positions, causal, places, values)

    def _text(self, chunk: int) -> list[int]:
        size = ctypes.c_size_t()
        tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(size))
        ids = [int(tokens[at]) for at in range(size.value)]
        if not all(0 <= id_ < self._model.n_vocab for id_ in ids):
            raise MediumFailed("the model's vocabulary lacks tokens that stand around media")
        return ids

    def _places(self, chunk: int, count: int) -> bytes:
        """Return the places of a picture's rows in time, down and across; b"" if they are equal."""
        if mtmd.mtmd_input_chunk_get_type(chunk) != mtmd.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            return b""
        image = mtmd.mtmd_input_chunk_get_tokens_image(chunk)
        first, later = (self._decoder_places(image, count, base) for base in (0, 1))
        if not (first[:, :3] + 1 == later[:, :3]).all() or first[:, 3].any() != later[:, 3].any():
            raise MediumFailed("its rows have places that depend on what stands before it")
        if (first[:, :3] == np.arange(count)[:, None]).all():
            return b""
        t, x, y = first[:, 0], first[:, 1], first[:, 2]
        return np.concatenate([t, y, x]).astype(np.int32).tobytes()

    @staticmethod
    def _decoder_places(image: int, count: int, base: int) -> NDArray[np.int64]:
        found = (mtmd.mtmd_decoder_pos * count)()
        mtmd.mtmd_helper_image_get_decoder_pos(image, base, found)
        return np.frombuffer(bytes(found), np.uint32).reshape(count, 4).astype(np.int64)

    def _values(self, chunk: int, count: int) -> bytes:
        if mtmd.mtmd_encode_chunk(self._handle, chunk):
            raise MediumFailed("the model's file can't encode it")
        values = mtmd.mtmd_get_output_embd(self._handle)
        return bytes(np.ctypeslib.as_array(values, (count * self._width,)))


@contextmanager
def _chunks() -> Iterator[int]:
    chunks = mtmd.mtmd_input_chunks_init()
    try:
        yield chunks
    finally:
        mtmd.mtmd_input_chunks_free(chunks)
