"""Weights and vocabulary."""

import ctypes
import functools
import os
from typing import NamedTuple

import llama_cpp
from llguidance import LLTokenizer, TokenizerWrapper

from workers.llama.adapters import Adapters
from workers.llama.library import LoadFailed, loading, readable
from workers.llama.loading import model_params, place_threads, warn_of_missing_gpu
from workers.llama.pooling import Scale
from workers.llama.tokenizer import Tokenizer
from workers.planning.infill import FIMTokens
from workers.protocol import ModelInfo, WorkerSpec
from workers.template.sources import NAMED, joined

UNKNOWN = llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN


class PairMarks(NamedTuple):
    """The special tokens around a query and a document that are computed together."""

    before: list[int]
    between: list[int]
    after: list[int]


RANKS = str(llama_cpp.LLAMA_POOLING_TYPE_RANK)
"""The pooling type of models that rank, as the file's metadata say it."""
SHARING = ("qwen3", "qwen3vl")
"""Architectures of which llama.cpp makes a model's values into shares of 1."""


class Model:
    """Weights and vocabulary. Safe to tokenise from one thread while another decodes."""

    def __init__(self, spec: WorkerSpec, *, weights: bool = True) -> None:
        """Load the model, or only its metadata and vocabulary. Raises :class:`LoadFailed`."""
        warn_of_missing_gpu(spec)
        place_threads(spec.numa)
        self._template = spec.chat_template
        self._overridden = spec.override_kv
        with loading(readable(spec.model_path), spec.files):
            params = model_params(spec)
            if not weights:
                params.no_alloc, params.load_mode = True, llama_cpp.LLAMA_LOAD_MODE_NONE
            if spec.files:
                paths = (ctypes.c_char_p * len(spec.files))(*map(os.fsencode, spec.files))
                handle = llama_cpp.llama_model_load_from_splits(paths, len(paths), params)
            else:
                handle = llama_cpp.llama_model_load_from_file(os.fsencode(spec.model_path), params)
            if handle is None:
                raise LoadFailed("llama.cpp can't load this model")
        self.handle = handle
        self.adapters = Adapters(handle)
        """LoRA adapters, which end with the model."""
        vocab = llama_cpp.llama_model_get_vocab(handle)
        if (
            vocab is None
            or llama_cpp.llama_model_has_encoder(handle)
            or not llama_cpp.llama_model_has_decoder(handle)
        ):
            raise LoadFailed(f"{readable(spec.model_path)} is not a model that generates text")
        self._vocab = vocab
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        self.n_embd = llama_cpp.llama_model_n_embd_out(handle)
        self.eog = frozenset(
            token for token in range(self.n_vocab) if llama_cpp.llama_vocab_is_eog(vocab, token)
        )
        """Tokens that end a generation."""
        self.pieces = [self._piece(token, special=False) for token in range(self.n_vocab)]
        """The bytes of every token; empty for control tokens."""
        self.tokenizer = Tokenizer(vocab)
        self.recurrent = bool(llama_cpp.llama_model_is_recurrent(handle))
        self.hybrid = bool(llama_cpp.llama_model_is_hybrid(handle))
        windows = llama_cpp.llama_model_n_swa(handle) > 0
        self.takes_back = not (self.recurrent or self.hybrid)
        """True if the last tokens can be taken back. Windows keep what stood before a step."""
        self.can_cut = self.takes_back and not windows
        """True if the memory of a text is that of each of its beginnings, too."""

    @property
    def n_ctx_train(self) -> int:
        """Return the context that the model was trained for; YaRN makes it longer."""
        return int(llama_cpp.llama_model_n_ctx_train(self.handle))

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
        """Return the bytes of a token, of a control token its name."""
        return self.pieces[token] or self._piece(token, special=True)

    def control_token(self, text: str) -> int | None:
        """Return the control token of that name, if the vocabulary has one."""
        found = self.tokenize(text)[int(self.adds_bos) :]
        return found[0] if len(found) == 1 and self.is_control(found[0]) else None

    def special_text(self, which: str) -> str:
        """Return the text of "bos" or "eos", as templates write it; "" if the model has none."""
        getter = {"bos": llama_cpp.llama_vocab_bos, "eos": llama_cpp.llama_vocab_eos}[which]
        token = int(getter(self._vocab))
        return self._piece(token, special=True).decode("utf-8", "replace") if token >= 0 else ""

    @property
    def adds_bos(self) -> bool:
        return bool(llama_cpp.llama_vocab_get_add_bos(self._vocab))

    @property
    def causal(self) -> bool:
        """Return whether a token sees only those before it, as far as the file says."""
        architecture = self._metadata("general.architecture")
        return self._metadata(f"{architecture}.attention.causal") != "false"

    @property
    def ranks(self) -> bool:
        """Return whether it scores pairs of texts, as far as the file says."""
        architecture = self._metadata("general.architecture")
        return self._metadata(f"{architecture}.pooling_type") == RANKS

    @property
    def n_classes(self) -> int:
        """Return the number of values that a model which ranks gives."""
        return int(llama_cpp.llama_model_n_cls_out(self.handle))

    @property
    def scale(self) -> Scale:
        """Return the meaning of those values."""
        if self._metadata("general.architecture") in SHARING:
            return Scale.SHARES
        return Scale.LOGIT if self.n_classes == 1 else Scale.LOGITS

    @functools.cached_property
    def pair_marks(self) -> PairMarks:
        """The special tokens of a pair, as llama-server puts them."""
        vocab = self._vocab
        bos, eos, sep = (
            [token] if (token := int(getter(vocab))) >= 0 else []
            for getter in (
                llama_cpp.llama_vocab_bos,
                llama_cpp.llama_vocab_eos,
                llama_cpp.llama_vocab_sep,
            )
        )
        end = (eos or sep) if llama_cpp.llama_vocab_get_add_eos(vocab) else []
        between = sep if llama_cpp.llama_vocab_get_add_sep(vocab) else []
        return PairMarks(bos if self.adds_bos else [], [*end, *between], end)

    @functools.cached_property
    def rerank_template(self) -> str | None:
        """The text in which a pair is written, with {query} and {document}, if there is one."""
        source = llama_cpp.llama_model_chat_template(self.handle, b"rerank")
        return source.decode("utf-8", "replace") if source else None

    def _metadata(self, key: str) -> str:
        """Return a short value as text; "" if there is none."""
        if key in self._overridden:  # llama.cpp returns the value in the file
            value = self._overridden[key]
            return str(value).lower() if isinstance(value, bool) else str(value)
        text = ctypes.create_string_buffer(64)
        llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), text, len(text))
        return text.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        """Return the operator's template, or the model's own; None if there is neither."""
        if self._template is not None:
            return self._template
        usual, for_tools = self._own_template(None), self._own_template(b"tool_use")
        return None if usual is None else joined(usual, for_tools)

    def _own_template(self, name: bytes | None) -> str | None:
        source = llama_cpp.llama_model_chat_template(self.handle, name)
        said = source.decode("utf-8", "replace") if source else None
        return None if said is None else NAMED.get(said, said)

    @property
    def fim(self) -> FIMTokens | None:
        """Return the tokens for infilling, if the model has all three."""
        getters = (
            llama_cpp.llama_vocab_fim_pre,
            llama_cpp.llama_vocab_fim_suf,
            llama_cpp.llama_vocab_fim_mid,
            llama_cpp.llama_vocab_fim_rep,
            llama_cpp.llama_vocab_fim_sep,
        )
        pre, suf, mid, rep, sep = (int(getter(self._vocab)) for getter in getters)
        if min(pre, suf, mid) < 0:
            return None
        return FIMTokens(pre, suf, mid, rep if rep >= 0 else None, sep if sep >= 0 else None)

    def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """Token ids of ``text``.

        ``add_special``: what the model wants around a text, such as BOS, is added.
        ``parse_special``: special tokens written in it count as such.
        """
        return self.tokenizer.tokenize(text, add_special=add_special, parse_special=parse_special)

    @functools.cached_property
    def guide_tokenizer(self) -> LLTokenizer:
        """The vocabulary for constraints.

        To be made before anything is served: half a second for a large one, with the GIL held.
        """
        return LLTokenizer(TokenizerWrapper(_Vocabulary(self)), eos_token=sorted(self.eog) or None)

    def is_control(self, token: int) -> bool:
        """Return whether a token is no text but an instruction, whose piece is empty."""
        attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        return bool(attributes & (llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | UNKNOWN))

    def info(self, name: str, n_ctx: int) -> ModelInfo:
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.handle, buffer, len(buffer))
        return ModelInfo(
            name=name,
            # llama.cpp calls unknown sizes "?B"
            description=buffer.value.decode("utf-8", "replace").replace(" ?B", ""),
            n_params=llama_cpp.llama_model_n_params(self.handle),
            size_bytes=llama_cpp.llama_model_size(self.handle),
            n_vocab=self.n_vocab,
            n_ctx_train=self.n_ctx_train,
            n_ctx=n_ctx,
            n_ctx_seq=min(self.n_ctx_train, n_ctx),
            longest_piece=max(map(len, self.pieces), default=1) or 1,
            n_embd=self.n_embd,
            infills=self.fim is not None,
            chat_template=self.chat_template or "",
            bos_token=self.special_text("bos"),
            eos_token=self.special_text("eos"),
        )


class _Vocabulary:
    """A vocabulary as llguidance's TokenizerWrapper wants it."""

    def __init__(self, model: Model) -> None:
        # The text of a control token would be taken for the text of a normal one.
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
