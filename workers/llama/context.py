"""KV cache, batches and logits; a second kind of context embeds or ranks."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from workers.kv.state import HEAD, SequenceState
from workers.llama import barriers
from workers.llama.adapters import Adapters
from workers.llama.library import LoadFailed, loading, readable
from workers.llama.loading import on_cpu
from workers.llama.model import Model
from workers.llama.pooling import Pooling, Rows, Scale
from workers.llama.rows_batch import RowsBatch, RowsSlice
from workers.planning.geometry import CELLS, Geometries, Geometry
from workers.protocol import NO_ADAPTERS, AdapterSet, WorkerSpec
from workers.sampling.logprobs import LogprobReader

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""llama.cpp's struct of a token that may be chosen."""
CACHE_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,  # GGML_TYPE_BF16, which the bindings do not name
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
    "iq4_nl": llama_cpp.GGML_TYPE_IQ4_NL,
}
FLASH_ATTN = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
ROPE_SCALING = {
    "auto": llama_cpp.LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
    "none": llama_cpp.LLAMA_ROPE_SCALING_TYPE_NONE,
    "linear": llama_cpp.LLAMA_ROPE_SCALING_TYPE_LINEAR,
    "yarn": llama_cpp.LLAMA_ROPE_SCALING_TYPE_YARN,
}
AUTO_CTX_SEQ = 4096
"""With an automatic --ctx, a slot is given at most this many cells: memory grows with them."""
LONGEST_INPUT = 8192
"""Tokens of an input to embed; OpenAI takes 8,191."""
LOGITS_BYTES = 64 << 20
"""llama.cpp makes a row of logits for every token it embeds; no caller wants them."""

STEP_LOGITS_BYTES = 32 << 20
"""Bytes of a step's rows of logits, unless one row for each sequence takes more: a prompt whose own
tokens are scored is computed in steps that fit."""

HALF = 2
"""Bytes of a key's or value's number."""
PARTIAL = 1
"""LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: of a state, the part that can't be cut."""
OK, NO_CELLS = 0, 1
"""Results of :meth:`Context.decode`; anything else is a failed computation."""


class EmbeddingShape(NamedTuple):
    """A model's way of embedding or ranking, and the sizes of inputs and steps."""

    pooling: Pooling
    whole: bool
    """True if an input must be in one batch: its tokens look to both sides."""
    longest: int
    """Tokens of an input."""
    batch: int
    """Tokens of a step; at least ``longest`` if inputs must be whole."""
    scale: Scale = Scale.LOGIT
    """The meaning of the values that a model which ranks gives."""


class Context:
    """KV cache and compute buffers for sequences that are decoded together."""

    def __init__(self, model: Model, spec: WorkerSpec, geometry: Geometry) -> None:
        """Raises :class:`LoadFailed`."""
        self._model, self._spec = model, spec
        self._media = RowsBatch(model)
        self.rows = max(spec.slots, geometry.sequences, affordable_rows(model, spec))
        """The most rows of logits that a step may bring."""
        self._weights = np.empty(model.n_vocab, np.float32)
        """Room for :meth:`logprobs`."""
        self._shape(geometry)
        self.generates = self._memory is not None and model.causal and not model.ranks
        self._pooling = llama_cpp.llama_pooling_type(self.handle)

    def _shape(self, geometry: Geometry) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = geometry.total
        params.n_seq_max = geometry.sequences
        params.kv_unified = geometry.unified
        params.n_batch = params.n_ubatch = self._spec.batch
        # llama.cpp wants room for a row per sequence; more than the limit would abort the process.
        params.n_outputs_max = self.rows
        self._streams = 1 if geometry.unified else geometry.sequences
        self.pass_cells = 0 if geometry.unified else pass_cells(self._model, self._spec)
        """The cells of :func:`workers.planning.passes.order`."""
        self._open(self._model, self._spec, params)

    def reshape(self, geometry: Geometry) -> None:
        """Divide the cells in another way; all states are lost. Raises :class:`LoadFailed`."""
        self.close()
        self._shape(geometry)

    def _open(self, model: Model, spec: WorkerSpec, params: llama_cpp.llama_context_params) -> None:
        params.n_threads = params.n_threads_batch = spec.threads
        barriers.govern(spec.threads)
        params.type_k, params.type_v = CACHE_TYPES[spec.type_k], CACHE_TYPES[spec.type_v]
        params.flash_attn_type = FLASH_ATTN[spec.flash_attn]
        params.offload_kqv = spec.kv_offload
        stretch(params, spec)
        params.no_perf = True
        with loading(readable(spec.model_path)):
            handle = llama_cpp.llama_init_from_model(model.handle, params)
            if handle is None:
                raise LoadFailed(f"llama.cpp can't make a context of {params.n_ctx} tokens")
        self.handle = handle
        self._adapters: AdapterSet = NO_ADAPTERS
        self._model.adapters.join(self)
        self.n_ctx = llama_cpp.llama_n_ctx(handle)
        self._memory = llama_cpp.llama_get_memory(handle)
        self._row = ctypes.c_float * model.n_vocab
        self._fill_batch(params.n_batch)

    def embeddings(self, model: Model, spec: WorkerSpec) -> EmbeddingShape:
        """Return the way in which ``model`` embeds or ranks."""
        kinds = {
            llama_cpp.LLAMA_POOLING_TYPE_CLS: Pooling.CLS,
            llama_cpp.LLAMA_POOLING_TYPE_LAST: Pooling.LAST,
            llama_cpp.LLAMA_POOLING_TYPE_RANK: Pooling.RANK,
        }
        pooling = kinds.get(self._pooling, Pooling.MEAN)
        whole = self._memory is None or not model.causal
        cells = wanted_cells(model, spec) if model.ranks else self.n_ctx
        longest = min(model.n_ctx_train, cells, LONGEST_INPUT)
        batch = spec.batch
        if whole:
            batch = max(batch, longest)
        else:
            batch = min(batch, max(spec.slots, LOGITS_BYTES // (4 * model.n_vocab)))
        return EmbeddingShape(pooling, whole, longest, batch, model.scale)

    def close(self) -> None:
        self._model.adapters.leave(self)
        llama_cpp.llama_free(self.handle)

    @property
    def adapters(self) -> Adapters:
        """Return the model's adapters."""
        return self._model.adapters

    def adapt(self, adapters: AdapterSet) -> bool:
        """Compute with these adapters, which must be loaded, from now on; whether that is a change.

        After one llama.cpp plans its memory anew with the next batch, which takes the time of a
        step of a small model.
        """
        if adapters == self._adapters:
            return False
        self._model.adapters.apply(self.handle, adapters)
        self._adapters = adapters
        return True

    def _fill_batch(self, capacity: int) -> None:
        """A batch over our own arrays: llama_cpp's helpers only write sequence 0."""
        token, pos, n_seq, seq = (np.zeros(capacity, np.int32) for _ in range(4))
        n_seq[:] = 1
        rows = np.zeros(capacity, np.int8)
        int32_p = ctypes.POINTER(ctypes.c_int32)
        base, width = seq.ctypes.data, seq.itemsize
        pointers = (int32_p * capacity)(
            *(ctypes.cast(base + width * i, int32_p) for i in range(capacity))
        )
        self._token, self._pos, self._seq, self._rows = token, pos, seq, rows
        self._keep_alive = (n_seq, pointers)
        self._batch = llama_cpp.llama_batch(
            n_tokens=0,
            token=token.ctypes.data_as(int32_p),
            embd=None,
            pos=pos.ctypes.data_as(int32_p),
            n_seq_id=n_seq.ctypes.data_as(int32_p),
            seq_id=pointers,
            logits=rows.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def decode(self, chunks: Sequence[tuple[int, int, Sequence[int], int]]) -> int:
        """Compute one batch. A chunk is (sequence, first position, tokens, rows of logits).

        Logits of a chunk are those after its last so many tokens; their row is that token's index
        in the batch. There may be ``self.rows`` in all. Returns OK, NO_CELLS (nothing changed) or
        another value for a failure.
        """
        at = 0
        for sequence, first, tokens, rows in chunks:
            at = self._put(at, sequence, first, tokens)
            self._rows[at - rows : at] = 1
        return self._compute(at)

    def decode_rows(self, rows: RowsSlice) -> int:
        """Compute rows of a medium; the results are those of :meth:`decode`."""
        return self._media.decode(self.handle, rows)

    def _put(self, at: int, sequence: int, first: int, tokens: Sequence[int]) -> int:
        """Write tokens into the batch from ``at`` on, without results; return the next ``at``."""
        end = at + len(tokens)
        self._token[at:end] = tokens
        self._pos[at:end] = range(first, first + len(tokens))
        self._seq[at:end] = sequence
        self._rows[at:end] = 0
        return end

    def _compute(self, count: int) -> int:
        self._batch.n_tokens = count
        barriers.computing()
        return int(llama_cpp.llama_decode(self.handle, self._batch))

    def logits(self, row: int) -> NDArray[np.float32]:
        """Return the logits of all tokens after batch row ``row``: llama.cpp's memory, not a copy.

        Valid until the next :meth:`decode`.
        """
        first = llama_cpp.llama_get_logits_ith(self.handle, row).contents
        return np.frombuffer(self._row.from_address(ctypes.addressof(first)), np.float32)

    def likeliest(self, row: int, banned: Sequence[int]) -> int:
        """Return the token with the largest logit after row ``row``, except ``banned`` ones.

        Among equals the first. :meth:`logprobs` must have been asked before.
        """
        logits = self.logits(row)
        if banned:
            logits[banned] = -np.inf
        return int(logits.argmax())

    def candidates(self, row: int) -> NDArray[np.void]:
        """Return all tokens with their logits after a batch row, as samplers in C read them."""
        logits = self.logits(row)
        found = np.zeros(len(logits), CANDIDATE)
        found["id"] = np.arange(len(logits))
        found["logit"] = logits
        return found

    def logprobs(self, row: int, top: int) -> LogprobReader:
        """Return the logprobs of tokens after batch row ``row``, and the ``top`` likeliest.

        To be asked before :meth:`allow`; valid until the next :meth:`decode`.
        """
        return LogprobReader(self.logits(row), top, self._weights)

    def allow(self, row: int, tokens: bytes) -> None:
        """Leave no chance to other tokens after batch row ``row``.

        A bit for each token, the least significant of a byte first.
        """
        logits = self.logits(row)
        bits = np.frombuffer(tokens, np.uint8)
        allowed = np.unpackbits(bits, count=len(logits), bitorder="little")
        logits[allowed == 0] = -np.inf

    def ban(self, row: int, tokens: Sequence[int]) -> None:
        """Leave no chance to some tokens after batch row ``row``."""
        self.logits(row)[tokens] = -np.inf

    def length(self, number: int) -> int:
        """Return the position after a sequence's last one; as a rule, how many cells it has."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, number)) + 1

    def drop(self, number: int) -> None:
        """Free the cells of a sequence."""
        llama_cpp.llama_memory_seq_rm(self._memory, number, -1, -1)

    def cut(self, number: int, end: int) -> None:
        """Free the cells from position ``end`` on; only where ``model.can_cut``."""
        llama_cpp.llama_memory_seq_rm(self._memory, number, end, -1)

    def save(self, number: int) -> SequenceState:
        """Return the state of a sequence."""
        data = self._state(number, 0)
        return SequenceState(data, *self._parts(len(data), number), self._streams)

    def _parts(self, size: int, number: int) -> tuple[tuple[int, ...], int]:
        """Return where parts of attention memories begin, and where the last of them ends."""
        if self._model.recurrent:
            return (), HEAD
        if self._model.can_cut:
            return (HEAD,), size
        second = llama_cpp.llama_state_seq_get_size_ext(self.handle, number, PARTIAL) - HEAD
        if self._model.hybrid:
            return (HEAD,), size - second
        return (HEAD, size - second), size

    def restore(self, number: int, state: SequenceState) -> bool:
        """Give a sequence without cells those of ``state``; on failure, False, it stays so."""
        return self._set(number, state, 0)

    def append(self, number: int, other: int) -> bool:
        """Move another sequence's cells behind those of ``number``, in a unified cache.

        False, and nothing happens, where positions can't be changed.
        """
        if not llama_cpp.llama_memory_can_shift(self._memory):
            return False
        llama_cpp.llama_memory_seq_add(self._memory, other, 0, -1, self.length(number))
        llama_cpp.llama_memory_seq_cp(self._memory, other, number, -1, -1)
        self.drop(other)
        return True

    def mark(self, number: int) -> SequenceState:
        """Return the part of a sequence's state that can't be cut."""
        data = self._state(number, PARTIAL)
        windows = not (self._model.recurrent or self._model.hybrid)
        return SequenceState(data, (HEAD,) if windows else (), len(data), self._streams)

    def rewind(self, number: int, state: SequenceState, end: int) -> bool:
        """Cut a sequence to what is before position ``end``, where ``state`` was marked."""
        return self._set(number, state, PARTIAL) and bool(
            llama_cpp.llama_memory_seq_rm(self._memory, number, end, -1)
        )

    def _state(self, number: int, flags: int) -> memoryview:
        size = llama_cpp.llama_state_seq_get_size_ext(self.handle, number, flags)
        data = np.empty(size, np.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        llama_cpp.llama_state_seq_get_data_ext(self.handle, pointer, size, number, flags)
        return data.data

    def _set(self, number: int, state: SequenceState, flags: int) -> bool:
        data = np.frombuffer(state.translated(self._streams).data, np.uint8)
        pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        size = len(data)
        done = llama_cpp.llama_state_seq_set_data_ext(self.handle, pointer, size, number, flags)
        return int(done) == size


def wanted_cells(model: Model, spec: WorkerSpec) -> int:
    """Return the cells that the operator wants, or that the slots take."""
    return spec.n_ctx or spec.slots * min(model.n_ctx_train, AUTO_CTX_SEQ)


def geometries(model: Model, spec: WorkerSpec) -> Geometries:
    """Return the ways to divide the cells of a context."""
    if model.ranks:  # in a context of its own, and nothing is generated beside it
        return Geometries(spec.slots, CELLS, "on")
    # A model that only embeds has no cells that could be divided.
    kv_unified = spec.kv_unified if model.causal else "on"
    return Geometries(spec.slots, wanted_cells(model, spec), kv_unified)


def stretch(params: llama_cpp.llama_context_params, spec: WorkerSpec) -> None:
    """Set the options of RoPE, and those of longer contexts."""
    params.rope_freq_base, params.rope_freq_scale = spec.rope_freq_base, spec.rope_freq_scale
    params.rope_scaling_type = ROPE_SCALING[spec.rope_scaling]
    params.yarn_orig_ctx = spec.yarn_orig_ctx
    params.yarn_ext_factor, params.yarn_attn_factor = spec.yarn_ext_factor, spec.yarn_attn_factor
    params.yarn_beta_slow, params.yarn_beta_fast = spec.yarn_beta_slow, spec.yarn_beta_fast


def pass_cells(model: Model, spec: WorkerSpec) -> int:
    """Return to how many cells a token could attend in the time of one more pass over the weights.

    0: what others attend to costs it nothing, as with flash attention. Without it, attention to a
    cell took about twice as long as a pass takes for as many bytes of weights as the keys and
    values of all heads have (SmolLM2 135M: 6 ms for a pass, 8 for 1,000 cells).
    """
    if spec.flash_attn != "off" or not on_cpu(spec) or not model.can_cut:
        return 0
    layers, width = (
        int(get(model.handle))
        for get in (llama_cpp.llama_model_n_layer, llama_cpp.llama_model_n_embd)
    )
    values = 2 * layers * width
    return int(llama_cpp.llama_model_size(model.handle)) // (2 * HALF * values)


def affordable_rows(model: Model, spec: WorkerSpec) -> int:
    """Return the rows of logits that are cheap: buffers hold a row for each sequence anyway."""
    return min(spec.batch, STEP_LOGITS_BYTES // (4 * int(model.n_vocab)))


class EmbeddingContext(Context):
    """Vectors of tokens, for inputs of ``n_seq`` sequences; the weights are the model's.

    llama.cpp's own pooling is wrong for an input that is computed in several parts, so it is not
    used: see :mod:`workers.llama.pooling`. Of a model that ranks it is right, since all of a pair
    is in one batch, or the last token tells.
    """

    def __init__(self, model: Model, spec: WorkerSpec, shape: EmbeddingShape, n_seq: int) -> None:
        """Raises :class:`LoadFailed`."""
        self._model = model
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max(shape.longest, shape.batch)
        params.n_batch = params.n_ubatch = params.n_outputs_max = shape.batch
        params.n_seq_max = n_seq
        # Pooling over sequences needs their tokens in one ubatch, whatever their lengths.
        params.kv_unified = True
        params.embeddings = True
        self._ranks = shape.pooling is Pooling.RANK
        none, rank = llama_cpp.LLAMA_POOLING_TYPE_NONE, llama_cpp.LLAMA_POOLING_TYPE_RANK
        params.pooling_type = rank if self._ranks else none
        self._width = model.n_classes if self._ranks else model.n_embd
        self._open(model, spec, params)

    def embed(self, chunks: Sequence[tuple[int, int, Sequence[int], range]]) -> list[Rows] | None:
        """Compute one batch. A chunk is (sequence, first position, tokens, which of those count).

        Returns for each chunk the vectors of the tokens that count, or the pair's values with its
        last token, or None for a failure; in what state that leaves the cells is not known.
        """
        at, counts = 0, list[slice]()
        for sequence, first, tokens, wanted in chunks:
            counts.append(slice(at + wanted.start, at + wanted.stop))
            at = self._put(at, sequence, first, tokens)
        self._rows[:at] = 1  # such a context gives all of them in any case
        if self._compute(at) != OK:
            return None
        if self._ranks:
            return [self._values(sequence, len(wanted)) for sequence, _, _, wanted in chunks]
        vectors = llama_cpp.llama_get_embeddings(self.handle)
        found = np.ctypeslib.as_array(vectors, (at, self._width))
        return [found[count] for count in counts]

    def _values(self, sequence: int, rows: int) -> Rows:
        """Return the values of a sequence as a row; none before its last token."""
        values = llama_cpp.llama_get_embeddings_seq(self.handle, sequence)
        return np.ctypeslib.as_array(values, (1, self._width))[:rows]
