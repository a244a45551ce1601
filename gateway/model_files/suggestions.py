"""Well-known models for a machine without one, and about how much memory each takes. Pure.

The facts are those that the repositories state. A download tells the exact size, and ``forge
serve`` looks at the file before it loads it; this is to choose by.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gateway.config.pool_shape import SMALL, PoolShape, Wanted, divide
from gateway.model_files.memory_estimate import GATEWAY, PER_TOKEN, WORKER

MB = 1_000_000
CTX_OF_SLOT = 4096
"""Cells of a slot that --ctx auto gives."""
CELL = 4
"""Bytes of a key and a value in the default types."""
COMPUTE = 64 << 10
"""Bytes of intermediate results for each unit of a model's width, about, in steps of 512 tokens."""
LEAST_CTX = 4096
"""The fewest cells with which a model is offered."""
HEADROOM = 0.9
"""The part of the free memory that may be filled: prefixes of prompts take some, too."""


class Suggestion(NamedTuple):
    """A repository, and the facts on which its memory depends."""

    source: str
    """The value for --model."""
    about: str
    licence: str
    size: int
    """Bytes of the file that is taken without a quantisation, about."""
    layers: int
    width: int
    kv_width: int
    """Values of a key in one layer: heads of keys x values of a head."""
    vocabulary: int
    context: int


SUGGESTIONS = (
    Suggestion("hf:bartowski/SmolLM2-360M-Instruct-GGUF", "the smallest that holds a conversation",
               "Apache 2.0", 271 * MB, 32, 960, 320, 49152, 8192),
    Suggestion("hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF", "small, in many languages",
               "Apache 2.0", 491 * MB, 24, 896, 128, 151936, 32768),
    Suggestion("hf:bartowski/Llama-3.2-1B-Instruct-GGUF", "small and quick, calls tools",
               "Llama 3.2", 808 * MB, 16, 2048, 512, 128256, 131072),
    Suggestion("hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF", "small, calls tools, in many languages",
               "Apache 2.0", 1117 * MB, 28, 1536, 256, 151936, 32768),
    Suggestion("hf:bartowski/Llama-3.2-3B-Instruct-GGUF", "for a laptop, calls tools",
               "Llama 3.2", 2019 * MB, 28, 3072, 1024, 128256, 131072),
    Suggestion("hf:Qwen/Qwen3-4B-GGUF", "for a laptop, thinks first, calls tools",
               "Apache 2.0", 2497 * MB, 36, 2560, 1024, 151936, 40960),
    Suggestion("hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "all-round, calls tools",
               "Llama 3.1", 4921 * MB, 32, 4096, 1024, 128256, 131072),
    Suggestion("hf:Qwen/Qwen3-8B-GGUF", "all-round, thinks first, calls tools",
               "Apache 2.0", 5028 * MB, 36, 4096, 1024, 151936, 40960),
    Suggestion("hf:Qwen/Qwen3-14B-GGUF", "larger, thinks first, calls tools",
               "Apache 2.0", 9002 * MB, 40, 5120, 1024, 151936, 40960),
    Suggestion("hf:Qwen/Qwen3-30B-A3B-GGUF", "large, and quick for its size",
               "Apache 2.0", 18557 * MB, 48, 2048, 512, 151936, 40960),
)  # fmt: skip
"""From the smallest to the largest."""


class FittingModel(NamedTuple):
    """A model that fits, and how it has to be served for that."""

    suggestion: Suggestion
    need: int
    """Bytes, about."""
    ctx: int | None
    """The value of --ctx with which it fits; None: it fits as it is."""

    def options(self) -> str:
        """Return the options of ``forge serve`` for it."""
        ctx = f" --ctx {self.ctx}" if self.ctx is not None else ""
        return f"--model {self.suggestion.source}{ctx}"


def offers(cores: int, free: int, among: Iterable[Suggestion] = SUGGESTIONS) -> list[FittingModel]:
    """Return the models that fit into ``free`` bytes, those with fewer cells than usual, too."""
    found = list[FittingModel]()
    for each in among:
        shape = divide(cores, Wanted(), small=each.size < SMALL, gpu=False)
        usual = shape.slots * min(each.context, CTX_OF_SLOT)
        room = int(free * HEADROOM)
        if need(each, shape, usual) <= room:
            found.append(FittingModel(each, need(each, shape, usual), None))
            continue
        ctx = usual // 2
        while ctx >= LEAST_CTX and need(each, shape, ctx) > room:
            ctx //= 2
        if ctx >= LEAST_CTX:
            found.append(FittingModel(each, need(each, shape, ctx), ctx))
    return found


def need(model: Suggestion, shape: PoolShape, ctx: int) -> int:
    """Return about how many bytes serving the model takes, with ``ctx`` cells for each worker."""
    worker = (
        WORKER
        + PER_TOKEN * model.vocabulary
        + ctx * model.layers * model.kv_width * CELL
        + COMPUTE * model.width
        + shape.slots * model.vocabulary * 4
    )
    spare = WORKER if shape.workers == 1 else 0
    # Weights are in memory once, in one order or in the other; each further worker may copy them.
    return GATEWAY + shape.workers * (worker + model.size) + spare
