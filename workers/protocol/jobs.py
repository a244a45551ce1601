"""The jobs of ``forge quantize`` for a process, and its answers; a part of :mod:`workers.protocol`.

One line of JSON on stdin, the job; lines of JSON on stdout. The last one is Done or JobFailed.
"""

import msgspec

from workers.protocol.spec import WorkerSpec


class Shrink(msgspec.Struct, frozen=True, tag=True):
    """Write ``source`` as another type. Progress is Tick, one for each tensor."""

    source: str
    target: str
    file_type: int
    """llama.cpp's LLAMA_FTYPE_*."""
    threads: int
    pure: bool
    requantize: bool


class Where(msgspec.Struct, frozen=True):
    """A tensor's weights in a file."""

    file: str
    offset: int
    """Bytes."""
    type: int
    """ggml's number of how they are packed."""


class Pair(msgspec.Struct, frozen=True):
    """One tensor in two files."""

    name: str
    values: int
    row: int
    """Values of a row, which is a whole number of blocks of any type."""
    before: Where
    after: Where


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Distance of weights from what they were. Answered with Error, one for each pair."""

    pairs: list[Pair]


class Score(msgspec.Struct, frozen=True, tag=True):
    """Perplexity of a model on a text. Progress is Tick, one for each window; then Scored."""

    spec: WorkerSpec
    text: str
    window: int
    """Tokens that are computed together; of each window the second half is scored."""


Job = Shrink | Compare | Score


class Tick(msgspec.Struct, frozen=True, tag=True):
    """So much is done; ``name`` is what comes now."""

    done: int
    total: int
    name: str = ""


class Error(msgspec.Struct, frozen=True, tag=True):
    """Of one tensor; what is added up over all of its weights."""

    name: str
    absolute: float
    """Of the differences' absolute values."""
    squared: float
    """Of the differences' squares."""
    power: float
    """Of the squares of what the weights were."""


class Scored(msgspec.Struct, frozen=True, tag=True):
    """``nats``: minus the sum of the log probabilities of so many tokens."""

    tokens: int
    nats: float


class Done(msgspec.Struct, frozen=True, tag=True):
    """The end of a job that is all done."""


class JobFailed(msgspec.Struct, frozen=True, tag=True):
    """The end of a job that can't be done."""

    message: str


FromJob = Tick | Error | Scored | Done | JobFailed
