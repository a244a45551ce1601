"""An estimate of the memory that serving a model takes, before it is loaded. Pure.

Six parts add up. The buffers of a context are llama.cpp's own figures (``memory_probe``). Weights
are the sizes of the tensors in the file's header: mapped once for all workers, or copied by each.
Repacked weights are a copy in the order that suits the processor, of the types below. LoRA
adapters are the matrices of their files, as they are, beside each worker's weights. The processes
themselves were measured: with two workers and a vocabulary of 2,048 tokens they take
48 + 2 x (56 + 1.4) MiB. A spare process is a worker that does not know its model yet.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.model_files.gguf import Gguf, Tensor
from gateway.model_files.offload import kept
from gateway.model_files.shape import shape
from workers.protocol import ContextMemory, WorkerSpec

MIB = 1 << 20
GATEWAY = 48 * MIB
"""The gateway's process."""
WORKER = 56 * MIB
"""A worker and the process in which it renders templates, before they know a model."""
PER_TOKEN = 720
"""Bytes that a token of the vocabulary costs a worker: llama.cpp's tables, ours, the guide's."""
REPACKED = {
    "x86": frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4"}),
    "arm": frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"}),
}
"""Types of which llama.cpp makes a copy in the order that suits a kind of processor."""
ROW_GROUP = 8
"""A matrix is repacked if its number of rows can be divided by this."""
AMX = {
    "F16": 1.0, "Q4_0": 1.0, "Q4_1": 1.0, "Q6_K": 1.0, "Q8_0": 38 / 34, "Q4_K": 148 / 144,
    "Q5_K": 180 / 176, "IQ4_XS": 138 / 136,
}  # fmt: skip
"""Types that are copied for the matrix unit of some x86 processors: bytes for one in the file."""
AMX_GROUP = 32
"""Numbers of a matrix' rows and columns that it takes can be divided by this."""
EMBEDDINGS = "token_embd.weight"
ALIGNMENT = 32
"""Bytes of which each matrix of an adapter takes a multiple."""


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
    projector: int = 0
    """Weights that make pictures or sound into rows, which are not mapped."""
    adapters: int = 0
    """The matrices of LoRA adapters."""


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
    """Bytes that prefixes without cells may come to take: --cache-ram."""
    spare: int = 0
    """Of the process that waits for a worker's death."""

    @property
    def total(self) -> int:
        """Once it serves, but for :attr:`saved`."""
        return GATEWAY + self.mapped + self.workers * sum(self.worker) + self.spare


def estimate(
    model: Gguf,
    spec: WorkerSpec,
    context: ContextMemory,
    workers: int,
    processor: str,
    saved: int = 0,
    *,
    adapters: Sequence[Tensor] = (),
    spare: bool = False,
    gpu: bool = False,
    projector: int = 0,
) -> MemoryEstimate:
    """Add up ``workers`` processes with ``spec`` on a ``processor``: "x86", "arm" or another.

    ``adapters``: the matrices of all LoRA adapters. ``projector``: bytes of its file. ``spare``:
    True if an only worker has a spare process. With a ``gpu``, offloaded layers do not count.
    """
    sizes = shape(model)
    here = kept(sizes.layers, spec, gpu=gpu)
    tensors = [tensor for tensor in model.tensors if here.has(tensor)]
    weights = sum(tensor.size for tensor in tensors)
    buffers = context.extra_buffers if spec.repack else ()
    copies = _copies(model, tensors, processor, buffers)
    # Pages of repacked weights are not read again: they go, unless they are locked.
    gone = sum(tensor.size for tensor, _ in copies if tensor.name != EMBEDDINGS)
    read = weights if spec.mmap and spec.mlock else weights - gone
    layers = here.layers if spec.kv_offload else sizes.layers
    worker = WorkerShape(
        0 if spec.mmap else read,
        round(sum(size for _, size in copies)),
        context.cells * layers // max(1, sizes.layers),
        context.states * layers // max(1, sizes.layers),
        context.compute if layers else 0,
        context.logits,
        WORKER + PER_TOKEN * sizes.vocabulary,
        projector,
        sum(-(-each.size // ALIGNMENT) * ALIGNMENT for each in adapters if here.has(each)),
    )
    return MemoryEstimate(
        read if spec.mmap else 0,
        worker,
        workers,
        context.n_ctx,
        saved,
        WORKER if spare and workers == 1 else 0,
    )


def _copies(
    model: Gguf, tensors: Iterable[Tensor], processor: str, buffers: Collection[str]
) -> list[tuple[Tensor, float]]:
    """The tensors that llama.cpp copies, with the bytes of their copies."""
    tied = all(tensor.name != "output.weight" for tensor in model.tensors)
    # Embeddings are looked up, unless they are the output's matrix too.
    used = (tensor for tensor in tensors if tied or tensor.name != EMBEDDINGS)
    sizes = ((tensor, _copy(tensor, processor, buffers)) for tensor in used)
    return [(tensor, size) for tensor, size in sizes if size]


def _copy(tensor: Tensor, processor: str, buffers: Collection[str]) -> float:
    """Bytes of the copy of one tensor; 0 if there is none."""
    if len(tensor.shape) < 2:
        return 0
    columns, rows, *experts = tensor.shape
    type_ = tensor.type.name
    if (
        "AMX" in buffers
        and type_ in AMX
        and not (experts or rows % AMX_GROUP or columns % AMX_GROUP)
    ):
        return tensor.size * AMX[type_]
    if "CPU_REPACK" in buffers and rows % ROW_GROUP == 0 and type_ in REPACKED.get(processor, ()):
        return tensor.size
    return 0
