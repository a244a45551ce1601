"""The memory of a context, which llama.cpp tells before anything is allocated.

``workers.tools.memory`` reads frames of :class:`PlanContext` and answers each with a frame.
"""

import msgspec

from workers.protocol.spec import WorkerSpec


class PlanContext(msgspec.Struct, frozen=True):
    """The question: how large are the buffers of a worker's context?"""

    path: bytes
    """The model's file, whose name need not be UTF-8; in place of the spec's ``model_path``."""
    spec: WorkerSpec


class ContextMemory(msgspec.Struct, frozen=True, tag="context"):
    """Bytes of the buffers of one worker's context, of those in the machine's own memory."""

    n_ctx: int
    """KV cells."""
    cells: int
    """The KV cache, also the part of it that a GPU may hold."""
    states: int
    """States of sequences, in recurrent models; as ``cells``."""
    compute: int
    """Intermediate results of a step."""
    logits: int
    """Rows of results of a step."""
    extra_buffers: tuple[str, ...]
    """ggml's names for the memory in which weights are repacked; none where they can't be."""


class MemoryUnknown(msgspec.Struct, frozen=True, tag="unknown"):
    """llama.cpp can't make this context."""

    message: str


FromMemoryProbe = ContextMemory | MemoryUnknown
