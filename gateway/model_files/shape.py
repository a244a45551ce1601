"""The sizes of a model, as its file's header says them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.model_files.gguf import Gguf

RECURRENT = ("ssm_", "time_mix_", "shortconv.")
"""Begins of the names of tensors that keep a state of a sequence instead of cells."""
RANKS = 4
"""llama.cpp's pooling type of models that rank pairs of texts."""
HEADS = ("cls.weight", "cls.output.weight")
MOST_LAYERS = 512
"""llama.cpp's limit. A damaged file may say that it has billions."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a model; zeros where a damaged file does not say."""

    architecture: str
    context: int
    """Tokens it was trained for."""
    vocabulary: int
    width: int
    layers: int
    window: int
    """Tokens that a layer with a sliding window sees; 0: there is none."""
    recurrent: bool
    """True if a sequence has a state, which can be neither cut nor shared."""
    encoder: bool
    """True if it only embeds or ranks."""
    ranks: bool
    """True if it only ranks pairs of texts."""
    headed: bool
    """True if it has the tensors that turn a pair into a score."""


def shape(model: Gguf) -> ModelShape:
    """The sizes that ``model`` says, or that its tensors have."""
    said = HeaderValues(model.metadata)
    names = [tensor.name for tensor in model.tensors]
    inside = [name.split(".", 2) for name in names]
    layers = {parts[1] for parts in inside if parts[0] == "blk" and len(parts) == 3}
    # Layers that only predict further tokens ahead are not used.
    count = said.number("block_count", len(layers)) - said.number("nextn_predict_layers")
    tokens = model.metadata.get("tokenizer.ggml.tokens")
    return ModelShape(
        said.architecture,
        said.number("context_length"),
        len(tokens) if tokens else said.number("vocab_size"),
        said.number("embedding_length"),
        max(0, min(count, MOST_LAYERS)),
        said.number("attention.sliding_window"),
        any(len(parts) == 3 and parts[2].startswith(RECURRENT) for parts in inside),
        "bert" in said.architecture or said.architecture == "t5encoder",
        said.value("pooling_type") == RANKS,
        any(name in HEADS for name in names),
    )


class HeaderValues:
    """The metadata's numbers under the architecture's name; other values count as absent."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.architecture = str(metadata.get("general.architecture", "unknown"))
        self._metadata = metadata

    def value(self, name: str) -> Any:
        return self._metadata.get(f"{self.architecture}.{name}")

    def number(self, name: str, otherwise: int = 0) -> int:
        """A number that is one for all layers; the greatest if there are several."""
        value = self.value(name)
        numbers = value if isinstance(value, tuple) else (value,)
        return max((int(each) for each in numbers if isinstance(each, int)), default=0) or otherwise
