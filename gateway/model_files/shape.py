"""What decides a model's memory, from its file: layers, heads, states. Pure."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.model_files.gguf import Gguf, Tensor

LAYER = re.compile(r"blk\.(\d+)\.(.+)")
RECURRENT = ("ssm_", "time_mix_", "shortconv.")
"""Begins of the names of tensors that keep a state of a sequence instead of cells."""
SHARED_FROM = {"gemma3n": 20}
"""The first layer that uses the cells of another one, where the file does not say."""
MOST_LAYERS = 512
"""llama.cpp's limit. A damaged file may say that it has billions."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Values that a layer keeps: for a token (``k``, ``v``), or for a sequence (``state``)."""

    k: int
    v: int
    state: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model, in values unless something else is said."""

    architecture: str
    context: int
    """Tokens it was trained for."""
    vocabulary: int
    width: int
    heads: int
    attended: int
    """What the queries of a token take."""
    feed: int
    """The widest feed-forward part that a token goes through."""
    window: int
    """Tokens that a layer with a sliding window sees; 0: there is none."""
    layers: tuple[Layer, ...]
    encoder: bool
    """Whether it only embeds; it keeps nothing of a token then."""

    @property
    def recurrent(self) -> bool:
        """Whether a sequence has a state, which can be neither cut nor shared."""
        return any(layer.state for layer in self.layers)

    @property
    def shares_prefixes(self) -> bool:
        """Whether sequences may share cells: as :class:`workers.llama.Model` asks llama.cpp."""
        return not self.recurrent and not self.window


def shape(model: Gguf) -> ModelShape:
    """The sizes that ``model`` says, or that its tensors have. A damaged one gives zeros."""
    said = HeaderValues(model.metadata)
    layers = _layers(model, said)
    width = said.number("embedding_length")
    heads = max(said.each("attention.head_count", len(layers)), default=0)
    head = said.number("attention.key_length", width // heads if heads else 0)
    experts = said.number("expert_used_count", 1) * said.number("expert_feed_forward_length")
    dense = max(said.each("feed_forward_length", len(layers)), default=0)
    inner = 4 * said.number("ssm.inner_size")  # in, convolved, gate, out
    return ModelShape(
        said.architecture,
        said.number("context_length"),
        _vocabulary(model, said),
        width,
        heads,
        heads * head,
        max(dense if not experts else 0, experts + said.number("expert_shared_feed_forward_length"),
            inner),
        said.number("attention.sliding_window"),
        layers,
        "bert" in said.architecture or said.architecture == "t5encoder",
    )  # fmt: skip


class HeaderValues:
    """The metadata's numbers under the architecture's name; what is no number is not there."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.architecture = str(metadata.get("general.architecture", "unknown"))
        self._metadata = metadata

    def value(self, name: str) -> Any:
        return self._metadata.get(f"{self.architecture}.{name}")

    def number(self, name: str, otherwise: int = 0) -> int:
        """A number that is one for all layers; the greatest if there are several."""
        return max(self.each(name, 1), default=0) or otherwise

    def each(self, name: str, layers: int) -> list[int]:
        """A number for each layer."""
        value = self.value(name)
        if isinstance(value, tuple):
            return [int(item) for item in value]
        return [int(value)] * layers if isinstance(value, int) else []


def _vocabulary(model: Gguf, said: HeaderValues) -> int:
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    return len(tokens) if tokens else said.number("vocab_size")


def _layers(model: Gguf, said: HeaderValues) -> tuple[Layer, ...]:
    inside = defaultdict[int, dict[str, Tensor]](dict)
    for tensor in model.tensors:
        if match := LAYER.fullmatch(tensor.name):
            inside[int(match[1])][match[2]] = tensor
    # Layers that only predict further tokens ahead are not used.
    count = said.number("block_count", len(inside)) - said.number("nextn_predict_layers")
    count = min(count, MOST_LAYERS)
    shared = SHARED_FROM.get(said.architecture, count - said.number("attention.shared_kv_layers"))
    sizes = _Sizes(said, count)
    return tuple(sizes.layer(index, inside[index], own=index < shared) for index in range(count))


class _Sizes:
    """What the layers of one model keep."""

    def __init__(self, said: HeaderValues, count: int) -> None:
        width = said.number("embedding_length")
        heads = said.each("attention.head_count", count)
        most = max(heads, default=0)
        self._key = said.number("attention.key_length", width // most if most else 0)
        self._value = said.number("attention.value_length", width // most if most else 0)
        self._key_swa = said.number("attention.key_length_swa", self._key)
        self._value_swa = said.number("attention.value_length_swa", self._value)
        self._heads_kv = said.each("attention.head_count_kv", count) or heads
        pattern = said.value("attention.sliding_window_pattern")
        self._swa = pattern if isinstance(pattern, tuple) else ()
        self._latent = said.number("attention.key_length_mla") > 0
        """Whether keys and values are made from one short vector, which is what is kept."""
        self._encoder = "bert" in said.architecture or said.architecture == "t5encoder"
        self._state = _state(said, width, most)

    def layer(self, index: int, tensors: Mapping[str, Tensor], *, own: bool) -> Layer:
        recurrent = any(name.startswith(RECURRENT) for name in tensors)
        # A fused attn_qkv beside a state is that of linear attention.
        attends = any(
            name.startswith(("attn_k.", "attn_k_b.", "attn_kv_")) for name in tensors
        ) or ("attn_qkv.weight" in tensors and not recurrent)
        state = self._state if recurrent else 0
        if not attends or not own or self._encoder:
            return Layer(0, 0, state)
        heads = self._heads_kv[index] if index < len(self._heads_kv) else 0
        swa = index < len(self._swa) and bool(self._swa[index])
        key, value = (self._key_swa, self._value_swa) if swa else (self._key, self._value)
        return Layer(heads * key, 0 if self._latent else heads * value, state)


def _state(said: HeaderValues, width: int, heads: int) -> int:
    """Values of the state of one sequence in one layer: llama.cpp's n_embd_r + n_embd_s."""
    if head := said.number("wkv.head_size"):
        return said.number("token_shift_count", 2) * width + width * head
    if cached := said.number("shortconv.l_cache"):
        return width * (cached - 1)
    convolution = max(0, said.number("ssm.conv_kernel") - 1)
    if head := said.number("kda.head_dim"):
        return 3 * (convolution or 3) * heads * head + head * head * heads
    inner, state = said.number("ssm.inner_size"), said.number("ssm.state_size")
    return convolution * (inner + 2 * said.number("ssm.group_count") * state) + inner * state
