"""An engine with a model that takes media, and llama.cpp's own way to compute the same."""

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import msgspec
import numpy as np
from llama_cpp import mtmd_cpp as mtmd

from gateway.config.config import EMBEDDED_MODEL
from tests.support.engine_driver import Driver, driver, exact_spec, loaded
from tests.support.projectors import write_pair
from workers.llama import Model
from workers.media.encoder import MediaEncoder
from workers.media.source import MediaSource
from workers.protocol import MEDIUM, Chat, Medium, WorkerSpec

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
"""Nothing around messages: what models of random weights say depends on the last tokens most."""
BATCH = 128
CTX = 2048


@dataclass
class Seeing:
    """A model, its projector, and what runs with them."""

    model: Model
    path: Path
    mmproj: Path
    spec: WorkerSpec
    encoder: MediaEncoder
    source: MediaSource

    @contextmanager
    def driver(self, **options: Any) -> Iterator[Driver]:
        """A fresh context; the cache of encoded media is the model's."""
        options = {"n_ctx": CTX, "batch": BATCH, "exact": True} | options
        with driver(self.model, self.path, media=self.source, **options) as made:
            yield made


def media_spec(path: Path, mmproj: Path, **bounds: Any) -> WorkerSpec:
    """The specification of a worker with a projector."""
    spec = exact_spec(path, n_ctx=CTX, batch=BATCH)
    media = msgspec.structs.replace(spec.media, **bounds)
    return msgspec.structs.replace(spec, mmproj=str(mmproj), media=media)


@contextmanager
def seeing(name: str, folder: Path, **bounds: Any) -> Iterator[Seeing]:
    """One of PROJECTORS, loaded, with its encoder running."""
    path, mmproj = write_pair(name, EMBEDDED_MODEL, folder, template=TEMPLATE)
    spec = media_spec(path, mmproj, **bounds)
    with loaded(path) as model:
        encoder = MediaEncoder(spec)
        try:
            source = MediaSource(encoder, spec)
            threading.Thread(target=source.fetch, daemon=True).start()
            yield Seeing(model, path, mmproj, spec, encoder, source)
        finally:
            encoder.close()


def asked(*parts: str | Medium, role: str = "user") -> Chat:
    """A conversation of one message, of texts and media."""
    return conversation([(role, parts)])


def conversation(turns: Sequence[tuple[str, Sequence[str | Medium]]]) -> Chat:
    """A conversation; a turn without media is a text."""
    media, messages = list[Medium](), []
    for role, parts in turns:
        content: list[dict[str, Any]] = []
        for part in parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            else:
                content.append({"type": MEDIUM, "at": len(media)})
                media.append(part)
        plain = "".join(part for part in parts if isinstance(part, str))
        written = all(isinstance(part, str) for part in parts)
        messages.append({"role": role, "content": plain if written else content})
    return Chat(messages, media=media)


def directly(made: Seeing, parts: Sequence[str | Medium], count: int) -> list[int]:
    """The likeliest tokens after a prompt, by libmtmd and llama.cpp alone, in one context."""
    params = mtmd.mtmd_context_params_default()
    params.use_gpu = params.print_timings = params.warmup = False
    params.n_threads = 1
    sight = mtmd.mtmd_init_from_file(str(made.mmproj).encode(), made.model.handle, params)
    assert sight
    wanted = llama_cpp.llama_context_default_params()
    wanted.n_ctx, wanted.n_batch, wanted.n_ubatch, wanted.n_threads = CTX, CTX, CTX, 1
    wanted.n_threads_batch = 1
    wanted.type_k = wanted.type_v = llama_cpp.GGML_TYPE_F32
    wanted.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(made.model.handle, wanted)
    assert context is not None
    chunks = mtmd.mtmd_input_chunks_init()
    assert chunks
    try:
        _tokenize(sight, chunks, parts)
        past = llama_cpp.llama_pos(0)
        failed = mtmd.mtmd_helper_eval_chunks(
            sight, context, chunks, 0, 0, CTX, True, ctypes.byref(past)
        )
        assert failed == 0
        return _greedy(made.model, context, past.value, count)
    finally:
        mtmd.mtmd_input_chunks_free(chunks)
        llama_cpp.llama_free(context)
        mtmd.mtmd_free(sight)


def _tokenize(sight: Any, chunks: Any, parts: Sequence[str | Medium]) -> None:
    made, kept = [], list[Any]()
    for part in parts:
        if isinstance(part, str):
            data = part.encode()
            text = mtmd.mtmd_input_text(data, len(data), True, True)
            kept.append(text)
            made.append(mtmd.mtmd_input_part(ctypes.pointer(text), None))
        else:
            data = part.data
            buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
            bitmap = mtmd.mtmd_helper_bitmap_init_from_buf(sight, buffer, len(data), False)
            made.append(mtmd.mtmd_input_part(None, bitmap))
    pointers = [ctypes.pointer(part) for part in made]
    array = (ctypes.POINTER(mtmd.mtmd_input_part) * len(made))(*pointers)
    assert mtmd.mtmd_tokenize_from_parts(sight, chunks, array, len(made), True) == 0


def _greedy(model: Model, context: Any, past: int, count: int) -> list[int]:
    found = list[int]()
    while len(found) < count:
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        chances = np.ctypeslib.as_array(logits, (model.n_vocab,)).copy()
        chances[list(model.eog)] = -np.inf  # as with ignore_eos
        found.append(int(np.argmax(chances)))
        batch = llama_cpp.llama_batch_init(1, 0, 1)
        batch.n_tokens, batch.token[0], batch.pos[0] = 1, found[-1], past
        batch.n_seq_id[0], batch.seq_id[0][0], batch.logits[0] = 1, 0, 1
        assert llama_cpp.llama_decode(context, batch) == 0
        llama_cpp.llama_batch_free(batch)
        past += 1
    return found
