"""True if there is room for a model; if not, the figures and what would help. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from gateway.core.byte_sizes import readable
from gateway.model_files.gguf import Gguf, Tensor
from gateway.model_files.memory_estimate import GATEWAY, MemoryEstimate, estimate
from workers.protocol import ContextMemory, WorkerSpec

LEAST_CTX = 2048
"""The fewest cells that advice names: with fewer a slot would hardly hold a question."""
TRY_ANYWAY = " (--force tries all the same)"
LOSSY_KV = ("f16", "bf16", "f32")
"""Types of the KV cache for which q8_0 is a way to save."""


@dataclass(frozen=True, slots=True)
class RequestedShape:
    """A model, and how it is to be served."""

    model: Gguf
    spec: WorkerSpec
    workers: int
    processor: str
    saved: int
    """Bytes that --cache-ram allows."""
    plan: Callable[[WorkerSpec], ContextMemory]
    """Asks llama.cpp for the sizes of a context."""
    spare: bool = False
    """True if an only worker has a spare process."""
    gpu: bool = False
    """True if layers that are offloaded find a GPU."""
    projector: int = 0
    """Bytes of the projector's file."""
    adapters: Sequence[Tensor] = ()
    """The matrices of its LoRA adapters."""

    def need(self) -> MemoryEstimate:
        """The estimate. Raises what ``plan`` raises."""
        context = self.plan(self.spec)
        return estimate(
            self.model,
            self.spec,
            context,
            self.workers,
            self.processor,
            self.saved,
            adapters=self.adapters,
            spare=self.spare,
            gpu=self.gpu,
            projector=self.projector,
        )

    def but(self, workers: int | None = None, **changes: str | int | bool) -> "RequestedShape":
        """The same served otherwise."""
        return RequestedShape(
            self.model,
            msgspec.structs.replace(self.spec, **changes),
            workers or self.workers,
            self.processor,
            self.saved,
            self.plan,
            self.spare,
            self.gpu,
            self.projector,
            self.adapters,
        )


def refusal(wanted: RequestedShape, free: int, are: str = "are free") -> str | None:
    """Return why it does not fit into ``free`` bytes, in one line; None if it does.

    ``are``: what these bytes are.
    """
    asked = wanted.need()
    if asked.total <= free:
        return None
    ways = list(savings(wanted, free))
    if not ways:
        ways = [_last_resort(wanted, free)]
    return (
        f"the model needs {readable(asked.total)} of memory, and {readable(free)} {are}: "
        f"{figures(asked)}. What would do: {'; or '.join(ways)}{TRY_ANYWAY}"
    )


def warning(wanted: RequestedShape, free: int) -> str | None:
    """The warning about a model that fits, if --cache-ram may later take more than there is."""
    asked = wanted.need()
    left = free - asked.total
    if asked.saved <= left:
        return None
    return (
        f"once --cache-ram ({readable(asked.saved)}) is full, it will need "
        f"{readable(asked.total + asked.saved)} of memory, and {readable(free)} are free; "
        f"--cache-ram {max(0, left) >> 20} would do"
    )


def figures(asked: MemoryEstimate) -> str:
    """The parts of the memory, in words."""
    each = asked.worker
    rows = [
        ("weights", asked.mapped, "shared"),
        ("weights not mapped", each.weights, "each"),
        ("repacked weights", each.repacked, "each"),
        (f"KV cache of {asked.n_ctx:,} tokens", each.cells, "each"),
        ("states", each.states, "each"),
        ("projector", each.projector, "each"),
        ("compute buffers", each.compute + each.logits, "each"),
        ("adapters", each.adapters, "each"),
        ("processes", GATEWAY + asked.workers * each.process + asked.spare, "all"),
    ]
    several = asked.workers > 1
    parts = [
        f"{what} {readable(size)}"
        + (f" for each of {asked.workers} workers" if several and whose == "each" else "")
        for what, size, whose in rows
        if size >= 1 << 20
    ]
    return ", ".join(parts)


def savings(wanted: RequestedShape, free: int) -> Iterator[str]:
    """Single changes with which it fits, the least painful first."""
    spec = wanted.spec

    def fits(other: RequestedShape) -> bool:
        return other.need().total <= free

    if wanted.workers > 1:
        fewer = next((n for n in range(wanted.workers - 1, 0, -1) if fits(wanted.but(n))), None)
        if fewer:
            yield f"--workers {fewer}"
    if not spec.mmap and fits(wanted.but(mmap=True)):
        yield "--mmap"
    if spec.repack and fits(wanted.but(repack=False)):
        yield "--no-repack"
    small = wanted.but(type_k="q8_0", type_v="q8_0")
    if spec.type_k in LOSSY_KV and spec.flash_attn != "off" and fits(small):
        yield "--cache-type-k q8_0 --cache-type-v q8_0"
    ctx = most_ctx(wanted, fits)
    if ctx:
        yield f"--ctx {ctx}"
    fewer_slots = next((n for n in range(spec.slots - 1, 0, -1) if fits(wanted.but(slots=n))), None)
    if fewer_slots and spec.n_ctx is None:
        yield f"--slots {fewer_slots}"


def most_ctx(wanted: RequestedShape, fits: Callable[[RequestedShape], bool]) -> int | None:
    """The largest multiple of 1,024 cells with which it fits, if that is still of use."""
    low, high = LEAST_CTX // 1024, wanted.need().n_ctx // 1024
    if high <= low or not fits(wanted.but(n_ctx=low * 1024)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(wanted.but(n_ctx=middle * 1024)) else (low, middle)
    return low * 1024


def _last_resort(wanted: RequestedShape, free: int) -> str:
    """All changes at once, or another file."""
    least = wanted.but(1, repack=False, slots=1, n_ctx=LEAST_CTX)
    if least.need().total <= free:
        both = f"--workers 1 --no-repack --slots 1 --ctx {LEAST_CTX}"
        return f"{both}, which needs {readable(least.need().total)}"
    return (
        f"a smaller quantisation or model; even with --workers 1 --no-repack --slots 1 "
        f"--ctx {LEAST_CTX} this one needs {readable(least.need().total)}"
    )
