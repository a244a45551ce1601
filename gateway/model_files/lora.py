"""LoRA adapters' files compared with their models, by the headers of both.

llama.cpp refuses some files with an error and ends the process over others: it takes the type of a
value for granted, or that two matrices can be multiplied. What it would do either with is refused
here, so that a file costs no worker. Only headers are read.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from gateway.model_files import gguf
from gateway.model_files.gguf import Gguf, Tensor

A, B = ".lora_a", ".lora_b"
STRING, FLOAT32, ARRAY = 8, 6, 9
NO_FLOATS = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K", "NVFP4"})
"""Types that llama.cpp can't multiply with."""
IGNORED = "_norm.weight"
"""The end of names of tensors that llama.cpp passes over."""
EMBEDDINGS, OUTPUT = "token_embd.weight", "output.weight"
MOST_INVOCATION = 256
"""Tokens of an activated adapter's invocation."""
NO_FOLDER = "an adapter is a GGUF file: llama.cpp's convert_lora_to_gguf.py makes one of PEFT's"
PEFT = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


class Unfit(Exception):
    """A file that is no adapter, or none for the model; a line that says why."""


class LoraFacts(NamedTuple):
    """The facts about an adapter, as its file says."""

    rank: int
    """The largest of its matrices'."""
    alpha: float
    tensors: int
    """Matrices of the model that it changes."""
    task_name: str
    prompt_prefix: str
    invocation: tuple[int, ...]
    """Tokens from whose last occurrence on it counts; none: it counts everywhere."""


def read(path: Path, model: Gguf) -> LoraFacts:
    """Return the facts about an adapter of ``model``. Raises :class:`Unfit`."""
    if path.name in PEFT:
        raise Unfit(NO_FOLDER)
    try:
        header = gguf.read_one(path)
    except gguf.Unreadable as error:
        raise Unfit(str(error)) from error
    facts = _facts(header.metadata, header.kinds, model.metadata)
    rank = _check_tensors(header.tensors, model)
    return facts._replace(rank=rank, tensors=len(header.tensors) // 2)


def matrices(paths: Iterable[Path]) -> Iterator[Tensor]:
    """Yield the matrices that llama.cpp takes from these files; a file that is no adapter has none.

    What is wrong with it is told when it is opened to be served.
    """
    for path in paths:
        if not path.is_file():  # a pipe would wait for its writer
            continue
        with suppress(gguf.Unreadable):
            found = gguf.contents(path)
            yield from (tensor for tensor in found if not tensor.name.endswith(IGNORED))


def _facts(
    metadata: Mapping[str, object], kinds: Mapping[str, int], model: Mapping[str, object]
) -> LoraFacts:
    """Raises :class:`Unfit`."""
    for key, kind in {"general.type": STRING, "general.architecture": STRING,
                      "adapter.type": STRING, "adapter.lora.alpha": FLOAT32}.items():  # fmt: skip
        if key in kinds and kinds[key] != kind:
            raise Unfit(f"it is damaged: {key} is of another type than adapters have")
    if metadata.get("general.type") != "adapter":
        raise Unfit("it is no adapter: its general.type is another")
    if metadata.get("adapter.type") != "lora":
        raise Unfit(f"it is no LoRA adapter, but {_told(metadata.get('adapter.type'))}")
    ours, theirs = metadata.get("general.architecture"), model.get("general.architecture")
    if ours != theirs:
        raise Unfit(f"it is for models of the architecture {_told(ours)}, this is {_told(theirs)}")
    alpha = metadata.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, float) or not isfinite(alpha):
        raise Unfit("it is damaged: adapter.lora.alpha is no number")
    return LoraFacts(
        0,
        alpha,
        0,
        _text(metadata.get("adapter.lora.task_name")),
        _text(metadata.get("adapter.lora.prompt_prefix")),
        _invocation(metadata.get("adapter.alora.invocation_tokens"), model),
    )


def _invocation(tokens: object, model: Mapping[str, object]) -> tuple[int, ...]:
    if tokens is None:
        return ()
    vocabulary = model.get("tokenizer.ggml.tokens")
    size = len(vocabulary) if isinstance(vocabulary, list | tuple) else 1 << 31
    if (
        not isinstance(tokens, tuple)
        or len(tokens) > MOST_INVOCATION
        or not all(isinstance(each, int) and 0 <= each < size for each in tokens)
    ):
        raise Unfit("adapter.alora.invocation_tokens are no tokens of this model")
    return tokens


def _check_tensors(tensors: tuple[Tensor, ...], model: Gguf) -> int:
    """Return the largest rank. Raises :class:`Unfit`."""
    pairs = dict[str, dict[str, Tensor]]()
    for tensor in tensors:
        base, suffix = tensor.name[: -len(A)], tensor.name[-len(A) :]
        if tensor.name.endswith(IGNORED):
            continue
        if suffix not in (A, B):
            raise Unfit(f"its tensor {_told(tensor.name)} is neither an A nor a B")
        if suffix in pairs.setdefault(base, {}):
            raise Unfit(f"it has two tensors {_told(tensor.name)}")
        if tensor.type.name in NO_FLOATS or not tensor.type.size:
            raise Unfit(f"its tensor {_told(tensor.name)} is of the type {tensor.type.name}")
        pairs[base][suffix] = tensor
    if not pairs:
        raise Unfit("it changes nothing: there is no tensor in it")
    weights = {tensor.name: tensor for tensor in model.tensors}
    return max(_check_pair(name, pair, weights) for name, pair in pairs.items())


def _check_pair(name: str, pair: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> int:
    """Return the rank of a pair of matrices. Raises :class:`Unfit`."""
    if name not in weights:
        raise Unfit(f"it changes {_told(name)}, which this model does not have")
    if len(pair) < 2:
        raise Unfit(f"it has only one of the two tensors for {_told(name)}")
    weight, a, b = weights[name], _matrix(pair[A]), _matrix(pair[B])
    if weight.type.name == "NVFP4":
        raise Unfit(f"{_told(name)} is NVFP4 in this model, which llama.cpp can't adapt")
    columns, rows, experts = _matrix(weight)
    if name == EMBEDDINGS:
        if OUTPUT not in weights:
            raise Unfit(f"it changes {EMBEDDINGS}, which is this model's output, too")
        rank, fits = a[0], (a[1], b[1], b[0], a[2], b[2]) == (rows, columns, a[0], 1, 1)
    else:
        rank = a[1]
        fits = (a[0], b[1], b[0], a[2], b[2]) == (columns, rows, rank, experts, experts)
    if not fits:
        raise Unfit(f"its matrices for {_told(name)} have shapes that do not fit this model's")
    if not 0 < rank <= min(columns, rows):
        raise Unfit(f"its matrices for {_told(name)} have rank {rank}, more than the model's")
    return rank


def _matrix(tensor: Tensor) -> tuple[int, int, int]:
    """Return a tensor's columns, rows and experts. Raises :class:`Unfit`."""
    if not 1 <= len(tensor.shape) <= 4 or tensor.shape[3:] not in ((), (1,)):
        raise Unfit(f"its tensor {_told(tensor.name)} has {len(tensor.shape)} dimensions")
    columns, rows, experts = (*tensor.shape[:3], 1, 1)[:3]
    return columns, rows, experts


def _told(value: object) -> str:
    """Return a value of a file's in a form fit for a line."""
    return repr(str(value)[:80]) if value is not None else "none"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
