"""Embeddings computed the straightforward way, with llama_cpp alone, to compare with."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
import numpy as np

Vector = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
TOLERANCE = 2e-5
"""In F32 the shape of a batch changes a component by less."""


class Reference:
    """One input, one batch, and llama.cpp's own pooling: none of what is ours."""

    def __init__(self, path: Path, pooling: int) -> None:
        """``pooling``: one of llama_cpp's LLAMA_POOLING_TYPE constants."""
        self._model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        assert self._model
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 1024
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.embeddings = True
        params.pooling_type = pooling
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        assert self._context

    def tokens(self, text: str) -> list[int]:
        """Token ids, with what the model wants around a text."""
        vocab, data = llama_cpp.llama_model_get_vocab(self._model), text.encode()
        ids = (ctypes.c_int32 * 1024)()
        count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, 1024, True, True)
        assert count > 0
        return ids[:count]

    def text_tokens(self, text: str, *, special: bool = False) -> list[int]:
        """Token ids of a mere text; ``special``: of control tokens that are written in it, too."""
        vocab, data = llama_cpp.llama_model_get_vocab(self._model), text.encode()
        ids = (ctypes.c_int32 * 4096)()
        count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, 4096, False, special)
        assert count >= 0
        return ids[:count]

    def vector(self, tokens: Sequence[int]) -> Vector:
        """The pooled vector, of length 1."""
        found = self._pooled(tokens, llama_cpp.llama_model_n_embd_out(self._model))
        return np.asarray(found / np.linalg.norm(found), np.float32)

    def values(self, tokens: Sequence[int]) -> Vector:
        """The values of a model that ranks, one for each class."""
        return self._pooled(tokens, llama_cpp.llama_model_n_cls_out(self._model))

    def _pooled(self, tokens: Sequence[int], size: int) -> Vector:
        memory = llama_cpp.llama_get_memory(self._context)
        if memory:
            llama_cpp.llama_memory_clear(memory, True)
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        try:
            for at, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, at
                batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = 1, 0, 1
            batch.n_tokens = len(tokens)
            assert llama_cpp.llama_decode(self._context, batch) == 0
        finally:
            llama_cpp.llama_batch_free(batch)
        pooled = llama_cpp.llama_get_embeddings_seq(self._context, 0)
        return np.array(np.ctypeslib.as_array(pooled, (size,)))

    def close(self) -> None:
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)


@contextmanager
def reference(path: Path, pooling: int) -> Iterator[Reference]:
    """For one model file."""
    made = Reference(path, pooling)
    try:
        yield made
    finally:
        made.close()


def same(one: Sequence[float] | Vector, other: Sequence[float] | Vector) -> bool:
    """Return whether two vectors are the same but for rounding."""
    left, right = np.asarray(one), np.asarray(other)
    return left.shape == right.shape and bool(np.abs(left - right).max() < TOLERANCE)


def unpacked(data: bytes) -> Vector:
    """A vector as it crosses the wire."""
    return np.frombuffer(data, "<f4")
