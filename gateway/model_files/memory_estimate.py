"""How much memory a model will need, before it is loaded. Pure.

The sizes of weights, cells and states are llama.cpp's own; that of its compute buffer follows from
its graphs, and what a process takes beside them was measured. See README, "Memory".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.model_files.ggml import CACHE_BYTES
from gateway.model_files.gguf import Gguf, Tensor
from gateway.model_files.offload import kept
from gateway.model_files.shape import ModelShape, shape
from workers.protocol import WorkerSpec

MIB = 1 << 20
# The worker's own rules; a test holds them to these: workers/llama/context.py.
AUTO_CTX_SEQ = 4096
STEP_LOGITS_BYTES = 32 << 20
MAX_SEQUENCES = 256
LONGEST_INPUT = 8192

GATEWAY = 48 * MIB
"""The gateway's process."""
WORKER = 56 * MIB
"""A worker and the process in which it renders templates, before they know a model."""
PER_TOKEN = 720
"""Bytes that a token of the vocabulary costs a worker: llama.cpp's tables, ours, the guide's."""
SLACK = 1.05
"""Buffers are not packed without holes."""
REPACKED = {
    "x86": frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"}),
    "arm": frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"}),
}
"""Types of which llama.cpp makes a copy in the order that suits a kind of processor."""
ROW_GROUP = 8
"""A matrix is repacked if its number of rows can be divided by this."""


class WorkerShape(NamedTuple):
    """Bytes of one worker, all its own."""

    weights: int
    """A copy of them: --no-mmap."""
    repacked: int
    """Weights in another order."""
    cells: int
    """The KV cache."""
    states: int
    """Of sequences, in recurrent models."""
    compute: int
    """Intermediate results of a step."""
    logits: int
    process: int
    """Python, the vocabulary, the process for templates."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that serving a model takes."""

    mapped: int
    """Weights that are read from the mapped file: all workers share them."""
    worker: WorkerShape
    workers: int
    n_ctx: int
    """Cells of a worker."""
    saved: int = 0
    """What prefixes without cells may come to take: --cache-ram."""

    @property
    def total(self) -> int:
        """Once it serves, but for :attr:`saved`."""
        return GATEWAY + self.mapped + self.workers * sum(self.worker)


def need(
    model: Gguf,
    spec: WorkerSpec,
    workers: int,
    processor: str,
    saved: int = 0,
    *,
    gpu: bool = False,
) -> MemoryEstimate:
    """What ``workers`` processes with ``spec`` take on a ``processor``: "x86", "arm" or another.

    With a ``gpu`` what is offloaded does not count.
    """
    sizes = shape(model)
    n_ctx = cells(sizes, spec)
    here = kept(len(sizes.layers), spec, gpu=gpu)
    tensors = [tensor for tensor in model.tensors if here.has(tensor)]
    weights = sum(tensor.size for tensor in tensors)
    copied = min(_repacked(model, tensors, processor), weights) if spec.repack else 0
    # What is repacked is not read from the file again, and its pages may go unless they are locked.
    read = weights if spec.mmap and spec.mlock else weights - copied
    layers = sizes.layers[: here.layers] if spec.kv_offload else sizes.layers
    per_cell = sum(
        layer.k * CACHE_BYTES[spec.type_k] + layer.v * CACHE_BYTES[spec.type_v] for layer in layers
    )
    held = sequences(sizes, spec)
    worker = WorkerShape(
        0 if spec.mmap else read,
        copied,
        int(n_ctx * per_cell),
        4 * sum(layer.state for layer in layers) * held,
        _compute(sizes, spec, n_ctx) if layers else 0,
        4 * sizes.vocabulary * max(held, affordable_rows(sizes, spec)),
        WORKER + PER_TOKEN * sizes.vocabulary,
    )
    return MemoryEstimate(read if spec.mmap else 0, worker, workers, n_ctx, saved)


def cells(sizes: ModelShape, spec: WorkerSpec) -> int:
    """Cells of a worker's cache; llama.cpp makes it a multiple of 256."""
    wanted = spec.n_ctx or spec.slots * min(sizes.context or AUTO_CTX_SEQ, AUTO_CTX_SEQ)
    return -(-wanted // 256) * 256


def affordable_rows(sizes: ModelShape, spec: WorkerSpec) -> int:
    """As the worker reckons: rows of logits that a step may bring."""
    return min(spec.batch, STEP_LOGITS_BYTES // (4 * max(1, sizes.vocabulary)))


def sequences(sizes: ModelShape, spec: WorkerSpec) -> int:
    """As the worker reckons, with the one through which it copies."""
    many = affordable_rows(sizes, spec) if sizes.shares_prefixes else 0
    held = min(max(2 * spec.slots, many), MAX_SEQUENCES - 1)
    return held + (1 if sizes.shares_prefixes else 0)


def _repacked(model: Gguf, tensors: Iterable[Tensor], processor: str) -> int:
    """Bytes of those ``tensors`` of the model that llama.cpp copies for the processor."""
    types = REPACKED.get(processor, frozenset())
    tied = all(tensor.name != "output.weight" for tensor in model.tensors)

    def copied(tensor: Tensor) -> bool:
        matrix = len(tensor.shape) > 1 and tensor.shape[1] % ROW_GROUP == 0
        # Embeddings are looked up, unless they are the output's matrix too.
        used = tied or tensor.name != "token_embd.weight"
        return matrix and used and tensor.type.name in types

    return sum(tensor.size for tensor in tensors if copied(tensor))


def _compute(sizes: ModelShape, spec: WorkerSpec, n_ctx: int) -> int:
    """llama.cpp's buffer for the widest step: what is there at once of its graph, as F32."""
    tokens = spec.batch
    if sizes.encoder:
        tokens = max(tokens, min(sizes.context, LONGEST_INPUT))
        n_ctx = tokens
    flash = spec.flash_attn != "off"
    attends = sizes.encoder or any(layer.k for layer in sizes.layers)
    kinds = 2 if sizes.window else 1  # layers with a window have a mask of their own
    mask = kinds * n_ctx * tokens * (2 if flash else 4) if attends else 0
    scores = 0 if flash or not attends else 4 * sizes.heads * n_ctx * tokens
    widest = max(3 * sizes.feed, 2 * sizes.attended + 2 * sizes.width)
    layer = mask + max(scores + 4 * tokens * 4 * sizes.width, 4 * tokens * widest)
    layer += 4 * tokens * 4 * sizes.width
    rows = min(tokens, max(sequences(sizes, spec), affordable_rows(sizes, spec)))
    output = 4 * rows * sizes.vocabulary + 4 * tokens * sizes.width
    return int(SLACK * max(layer, output)) + MIB
