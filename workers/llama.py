"""llama.cpp, as little of it as the engine needs. The only runtime file that imports llama_cpp.

The low-level API is used: the wheel's high-level class serves one sequence at a time. Every
object here owns C memory and frees it in ``close``; nothing of ctypes leaves this file.
"""

import contextlib
import ctypes
import functools
import logging
import math
import os
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import llama_cpp
import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from workers.chances import Chances
from workers.dry import Repetitions
from workers.pooling import Pooling, Rows
from workers.protocol import ModelInfo, Sampling, WorkerSpec
from workers.sampler import RENEWED, Stage, draw_seed, stages

log = logging.getLogger("forge.llama")

CACHE_TYPES = {
    "f32": llama_cpp.GGML_TYPE_F32,
    "f16": llama_cpp.GGML_TYPE_F16,
    "bf16": 30,  # GGML_TYPE_BF16, which the bindings do not name
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q5_1": llama_cpp.GGML_TYPE_Q5_1,
    "q5_0": llama_cpp.GGML_TYPE_Q5_0,
    "q4_1": llama_cpp.GGML_TYPE_Q4_1,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
}
FLASH_ATTN = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}
UNKNOWN = llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
MAX_SEQUENCES = 256
"""llama.cpp's limit on sequences per context."""
AUTO_CTX_SEQ = 4096
"""With an automatic --ctx, a slot is given at most this many cells: memory grows with them."""
LONGEST_INPUT = 8192
"""Tokens of an input to embed; OpenAI takes 8,191."""
LOGITS_BYTES = 64 << 20
"""llama.cpp makes a row of logits for every token it embeds; nobody wants them."""

STEP_LOGITS_BYTES = 32 << 20
"""What the rows of logits of a step may take, if one for each sequence takes less: a prompt whose
own tokens are judged is computed in steps of what fits."""

OK, NO_CELLS = 0, 1
"""Results of :meth:`Context.decode`; anything else is a failed computation."""


class LoadFailed(Exception):
    """The model or the context could not be made; the text is one line fit for the operator."""


def readable(path: str) -> str:
    """A path fit for messages: names of files need not be UTF-8."""
    return path.encode("utf-8", "replace").decode()


_LEVELS = {3: logging.INFO, 4: logging.ERROR}
"""By GGML log level; llama.cpp is chatty, so the others are debug lines here."""
_errors: list[str] = []
_loading = False


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _forward_log(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    line = text.decode("utf-8", "replace").strip()
    if level == 4 and _loading:
        _errors.append(line)
    elif line.strip("."):
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)


@contextlib.contextmanager
def _load(what: str) -> Iterator[None]:
    """Turn what llama.cpp logs as errors meanwhile into the reason of a :class:`LoadFailed`."""
    global _loading
    _loading = True
    try:
        yield
    except LoadFailed as failure:
        reason = f": {_errors[0]}" if _errors else ""
        raise LoadFailed(f"{what}: {failure}{reason}") from None
    finally:
        _loading = False
        _errors.clear()


def initialise() -> None:
    """Start llama.cpp's backend once per process and route its log into ours.

    An abort inside llama.cpp would start a debugger for a backtrace and end seconds later; the
    supervisor wants to know at once. ``_forward_log`` is a module global because llama.cpp crashes
    if Python collects it.
    """
    os.environ["GGML_NO_BACKTRACE"] = "1"
    llama_cpp.llama_log_set(_forward_log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


class FIMTokens(NamedTuple):
    """What stands before the prefix, before the suffix and before what is wanted."""

    pre: int
    suf: int
    mid: int


class Model:
    """Weights and vocabulary. Safe to tokenise from one thread while another decodes."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Raises :class:`LoadFailed`."""
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = spec.n_gpu_layers
        params.use_extra_bufts = spec.repack
        with _load(readable(spec.model_path)):
            handle = llama_cpp.llama_model_load_from_file(os.fsencode(spec.model_path), params)
            if handle is None:
                raise LoadFailed("llama.cpp can't load this model")
        self.handle = handle
        vocab = llama_cpp.llama_model_get_vocab(handle)
        if (
            vocab is None
            or llama_cpp.llama_model_has_encoder(handle)
            or not llama_cpp.llama_model_has_decoder(handle)
        ):
            raise LoadFailed(f"{readable(spec.model_path)} is not a model that generates text")
        self._vocab = vocab
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        self.n_ctx_train = llama_cpp.llama_model_n_ctx_train(handle)
        self.n_embd = llama_cpp.llama_model_n_embd_out(handle)
        self.eog = frozenset(
            token for token in range(self.n_vocab) if llama_cpp.llama_vocab_is_eog(vocab, token)
        )
        """Tokens that end a generation."""
        self.pieces = [self._piece(token, special=False) for token in range(self.n_vocab)]
        """The bytes of every token; empty for control tokens."""
        self.shares_prefixes = not (
            llama_cpp.llama_model_is_recurrent(handle)
            or llama_cpp.llama_model_is_hybrid(handle)
            or llama_cpp.llama_model_n_swa(handle) > 0
        )

    def close(self) -> None:
        llama_cpp.llama_model_free(self.handle)

    def _piece(self, token: int, *, special: bool) -> bytes:
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            got = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
            if got >= 0:
                return buffer.raw[:got]
            size = -got

    def shown(self, token: int) -> bytes:
        """The bytes of a token, of a control token its name."""
        return self.pieces[token] or self._piece(token, special=True)

    def control_token(self, text: str) -> int | None:
        """The control token of that name, if the vocabulary has one."""
        found = self.tokenize(text)[int(self.adds_bos) :]
        return found[0] if len(found) == 1 and self.is_control(found[0]) else None

    def special_text(self, which: str) -> str:
        """The text of the "bos" or "eos" token, as templates write it; "" if the model has none."""
        getter = {"bos": llama_cpp.llama_vocab_bos, "eos": llama_cpp.llama_vocab_eos}[which]
        token = int(getter(self._vocab))
        return self._piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def adds_bos(self) -> bool:
        return bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it, as far as the file says."""
        architecture = self._metadata("general.architecture")
        return self._metadata(f"{architecture}.attention.causal") != "false"

    def _metadata(self, key: str) -> str:
        """A short value as text; "" if there is none."""
        value = ctypes.create_string_buffer(64)
        llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), value, len(value))
        return value.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        source = llama_cpp.llama_model_chat_template(self.handle, None)
        return source.decode("utf-8", "replace") if source else None

    @property
    def fim(self) -> FIMTokens | None:
        """The tokens for infilling, if the model has all three."""
        getters = (
            llama_cpp.llama_vocab_fim_pre,
            llama_cpp.llama_vocab_fim_suf,
            llama_cpp.llama_vocab_fim_mid,
        )
        tokens = FIMTokens(*(int(getter(self._vocab)) for getter in getters))
        return tokens if min(tokens) >= 0 else None

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Token ids of ``text``.

        ``add_special``: what the model wants around a text, such as BOS, is added.
        ``parse_special``: special tokens written in it count as such.
        """
        data = text.encode("utf-8", "replace")
        size = len(data) + 8
        while True:
            buffer = (ctypes.c_int32 * size)()
            got = llama_cpp.llama_tokenize(
                self._vocab, data, len(data), buffer, size, add_special, parse_special
            )
            if got >= 0:
                return buffer[:got]
            size = -got

    @functools.cached_property
    def guide_tokenizer(self) -> LLTokenizer:
        """The vocabulary for constraints.

        To be made before anything is served: half a second for a large one, with the GIL held.
        """
        return LLTokenizer(TokenizerWrapper(_Vocabulary(self)), eos_token=sorted(self.eog) or None)

    def is_control(self, token: int) -> bool:
        """Whether a token is no text but an instruction, whose piece is empty."""
        attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        return bool(attributes & (llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | UNKNOWN))

    def info(self, name: str, n_ctx: int) -> ModelInfo:
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.handle, buffer, len(buffer))
        return ModelInfo(
            name=name,
            # llama.cpp names sizes it does not know "?B"
            description=buffer.value.decode("utf-8", "replace").replace(" ?B", ""),
            n_params=llama_cpp.llama_model_n_params(self.handle),
            size_bytes=llama_cpp.llama_model_size(self.handle),
            n_vocab=self.n_vocab,
            n_ctx_train=self.n_ctx_train,
            n_ctx=n_ctx,
            n_ctx_seq=min(self.n_ctx_train, n_ctx),
            longest_piece=max(map(len, self.pieces), default=1) or 1,
            shares_prefixes=self.shares_prefixes,
            n_embd=self.n_embd,
        )


class _Vocabulary:
    """A vocabulary as llguidance's TokenizerWrapper wants it."""

    def __init__(self, model: Model) -> None:
        # A control token's text would be taken for what a text token may say.
        self.special_token_ids = [t for t in range(model.n_vocab) if model.is_control(t)]
        self.tokens = list(model.pieces)
        for token in self.special_token_ids:
            self.tokens[token] = model.shown(token)
        self.bos_token_id = None
        self.eos_token_id = min(model.eog, default=0)
        self._tokenize = model.tokenize

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenize(
            text.decode("utf-8", "replace"), add_special=False, parse_special=False
        )


class EmbeddingShape(NamedTuple):
    """How a model embeds, and how much of it at once."""

    pooling: Pooling
    whole: bool
    """Whether an input must be in one batch: its tokens look to both sides."""
    longest: int
    """Tokens of an input."""
    batch: int
    """Tokens of a step; at least ``longest`` if inputs must be whole."""


class Context:
    """KV cache and compute buffers for ``n_seq`` sequences, decoded together."""

    def __init__(self, model: Model, spec: WorkerSpec, n_seq: int) -> None:
        """Raises :class:`LoadFailed`."""
        auto = spec.slots * min(model.n_ctx_train, AUTO_CTX_SEQ)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = spec.n_ctx or auto
        params.n_batch = params.n_ubatch = spec.batch
        params.n_seq_max = n_seq
        # llama.cpp wants room for a row per sequence; more than the limit would abort the process.
        affordable = min(spec.batch, STEP_LOGITS_BYTES // (4 * model.n_vocab))
        self.rows = params.n_outputs_max = max(n_seq, affordable)
        """The most rows of logits that a step may bring."""
        self._weights = np.empty(model.n_vocab, np.float32)
        """Room for :meth:`chances`."""
        self._open(model, spec, params)
        self.generates = self._memory is not None and model.causal
        self._pooling = llama_cpp.llama_pooling_type(self.handle)

    def _open(self, model: Model, spec: WorkerSpec, params: llama_cpp.llama_context_params) -> None:
        params.n_threads = params.n_threads_batch = spec.threads
        params.type_k, params.type_v = CACHE_TYPES[spec.type_k], CACHE_TYPES[spec.type_v]
        params.flash_attn_type = FLASH_ATTN[spec.flash_attn]
        params.kv_unified = True
        params.no_perf = True
        with _load(readable(spec.model_path)):
            handle = llama_cpp.llama_init_from_model(model.handle, params)
            if handle is None:
                raise LoadFailed(f"llama.cpp can't make a context of {params.n_ctx} tokens")
        self.handle = handle
        self.n_ctx = llama_cpp.llama_n_ctx(handle)
        self._memory = llama_cpp.llama_get_memory(handle)
        self._row = ctypes.c_float * model.n_vocab
        self._fill_batch(params.n_batch)

    def embeddings(self, model: Model, spec: WorkerSpec) -> EmbeddingShape | None:
        """How ``model`` embeds; None if it ranks pairs of texts instead."""
        if self._pooling == llama_cpp.LLAMA_POOLING_TYPE_RANK:
            return None
        kinds = {
            llama_cpp.LLAMA_POOLING_TYPE_CLS: Pooling.CLS,
            llama_cpp.LLAMA_POOLING_TYPE_LAST: Pooling.LAST,
        }
        pooling = kinds.get(self._pooling, Pooling.MEAN)
        longest = min(model.n_ctx_train, self.n_ctx, LONGEST_INPUT)
        batch = spec.batch
        if not self.generates:
            batch = max(batch, longest)
        else:
            batch = min(batch, max(spec.slots, LOGITS_BYTES // (4 * model.n_vocab)))
        return EmbeddingShape(pooling, not self.generates, longest, batch)

    def close(self) -> None:
        llama_cpp.llama_free(self.handle)

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

    def _put(self, at: int, sequence: int, first: int, tokens: Sequence[int]) -> int:
        """Tokens into the batch from ``at`` on, without results; where the next ones go."""
        end = at + len(tokens)
        self._token[at:end] = tokens
        self._pos[at:end] = range(first, first + len(tokens))
        self._seq[at:end] = sequence
        self._rows[at:end] = 0
        return end

    def _compute(self, count: int) -> int:
        self._batch.n_tokens = count
        return int(llama_cpp.llama_decode(self.handle, self._batch))

    def logits(self, row: int) -> NDArray[np.float32]:
        """Logits after batch row ``row``, one for each token: llama.cpp's own memory, not a copy.

        Valid until the next :meth:`decode`.
        """
        first = llama_cpp.llama_get_logits_ith(self.handle, row).contents
        return np.frombuffer(self._row.from_address(ctypes.addressof(first)), np.float32)

    def chances(self, row: int, top: int) -> Chances:
        """How likely each token is after batch row ``row``, and which ``top`` are the likeliest.

        To be asked before :meth:`allow`; valid until the next :meth:`decode`.
        """
        return Chances(self.logits(row), top, self._weights)

    def allow(self, row: int, tokens: bytes) -> None:
        """Leave no chance to other tokens after batch row ``row``.

        A bit for each token, the least significant of a byte first.
        """
        logits = self.logits(row)
        bits = np.frombuffer(tokens, np.uint8)
        allowed = np.unpackbits(bits, count=len(logits), bitorder="little")
        logits[allowed == 0] = -np.inf

    def share(self, source: int, target: int, count: int) -> None:
        """Let ``target`` use the cells of the first ``count`` tokens of ``source``."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def length(self, sequence: int) -> int:
        """How many tokens of ``sequence`` have cells; all from the first on."""
        return int(llama_cpp.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def drop(self, sequence: int) -> None:
        """Give up the cells of ``sequence``; shared ones stay with the others."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)


class EmbeddingContext(Context):
    """Vectors of tokens, for inputs of ``n_seq`` sequences; the weights are the model's.

    llama.cpp's own pooling is wrong for an input that is computed in several parts, so it is not
    used: see :mod:`workers.pooling`.
    """

    def __init__(self, model: Model, spec: WorkerSpec, shape: EmbeddingShape, n_seq: int) -> None:
        """Raises :class:`LoadFailed`."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = max(shape.longest, shape.batch)
        params.n_batch = params.n_ubatch = params.n_outputs_max = shape.batch
        params.n_seq_max = n_seq
        params.embeddings = True
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
        self._n_embd = model.n_embd
        self._open(model, spec, params)

    def embed(self, chunks: Sequence[tuple[int, int, Sequence[int], range]]) -> list[Rows] | None:
        """Compute one batch. A chunk is (sequence, first position, tokens, which of those count).

        Returns for each chunk the vectors of the tokens that count, or None for a failure; in what
        state that leaves the cells is not known.
        """
        at, counts = 0, list[slice]()
        for sequence, first, tokens, wanted in chunks:
            counts.append(slice(at + wanted.start, at + wanted.stop))
            at = self._put(at, sequence, first, tokens)
        self._rows[:at] = 1  # such a context gives all of them in any case
        if self._compute(at) != OK:
            return None
        vectors = llama_cpp.llama_get_embeddings(self.handle)
        found = np.ctypeslib.as_array(vectors, (at, self._n_embd))
        return [found[count] for count in counts]


class Sampler:
    """One request's chain of samplers in C, and what of it is made anew for each token."""

    def __init__(self, model: Model, sampling: Sampling, *, ignore_eos: bool, window: int) -> None:
        """``window``: the most tokens that the sequence can hold."""
        self._model = model
        self._sampling = sampling
        self._repetitions = Repetitions(sampling.dry, model.pieces) if sampling.dry else None
        self._stages = stages(sampling, ignore_eos=ignore_eos, window=window)
        renewed = [stage.name in RENEWED for stage in self._stages]
        self._fixed = [*renewed, True].index(True)
        """How many stages come before the first that is renewed."""
        params = llama_cpp.llama_sampler_chain_default_params()
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        for stage in self._stages:
            llama_cpp.llama_sampler_chain_add(self._chain, self._make(stage, 0))

    def _make(self, stage: Stage, position: int) -> object:
        """The C object for a stage; ``position`` matters to those that are renewed."""
        n_vocab = self._model.n_vocab
        given = stage.arguments
        match stage.name:
            case "ban_eog":
                return _biases(n_vocab, [(token, -math.inf) for token in self._model.eog])
            case "logit_bias":
                return _biases(n_vocab, self._sampling.logit_bias)
            case "penalties":
                last_n, *penalties = given
                return llama_cpp.llama_sampler_init_penalties(n_vocab, int(last_n), *penalties)
            case "dry":
                dear = self._repetitions.penalties() if self._repetitions else []
                return _biases(n_vocab, [(token, -penalty) for token, penalty in dear])
            case "top_k":
                return llama_cpp.llama_sampler_init_top_k(int(given[0]))
            case "xtc":
                chance, threshold, keep = given
                seed = draw_seed(self._sampling.seed, position, stage=1)
                return llama_cpp.llama_sampler_init_xtc(chance, threshold, int(keep), seed)
            case "top_p" | "min_p" | "typ_p":
                return _CUTS[stage.name](given[0], int(given[1]))
            case "dist":
                seed = draw_seed(self._sampling.seed, position)
                return llama_cpp.llama_sampler_init_dist(seed)
        return _SIMPLE[stage.name](*given)

    def sample(self, context: Context, row: int, position: int) -> int:
        """The token after batch row ``row``; ``position`` counts the completion's tokens from 0."""
        self._renew(position)
        token = int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))
        if self._repetitions is not None:
            self._repetitions.accept(token)
        return token

    def _renew(self, position: int) -> None:
        """Make anew what depends on ``position``; a chain can only be changed from its end."""
        last = [
            llama_cpp.llama_sampler_chain_remove(self._chain, self._fixed)
            for _ in self._stages[self._fixed :]
        ]
        for stage, made in zip(self._stages[self._fixed :], last, strict=True):
            if stage.name in RENEWED:
                llama_cpp.llama_sampler_free(made)
                made = self._make(stage, position)
            llama_cpp.llama_sampler_chain_add(self._chain, made)

    def accept(self, token: int) -> None:
        """Replay a token that was sampled elsewhere, so that penalties know it."""
        llama_cpp.llama_sampler_accept(self._chain, token)
        if self._repetitions is not None:
            self._repetitions.accept(token)

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._chain)


_CUTS = {
    "top_p": llama_cpp.llama_sampler_init_top_p,
    "min_p": llama_cpp.llama_sampler_init_min_p,
    "typ_p": llama_cpp.llama_sampler_init_typical,
}
_SIMPLE = {
    "top_n_sigma": llama_cpp.llama_sampler_init_top_n_sigma,
    "temp": llama_cpp.llama_sampler_init_temp,
    "temp_ext": llama_cpp.llama_sampler_init_temp_ext,
    "greedy": llama_cpp.llama_sampler_init_greedy,
}


def _biases(n_vocab: int, given: Collection[tuple[int, float]]) -> object:
    biases = (llama_cpp.llama_logit_bias * len(given))()
    for bias, (token, value) in zip(biases, given, strict=True):
        bias.token, bias.bias = token, value
    return llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(given), biases)
