"""The questions of ``forge tune`` to a process that measures, and its answers."""

import msgspec

MIX_PROMPT, MIX_OUTPUT = 60, 32
"""Tokens of each request of the mix that ``forge tune`` measures: no two prompts alike."""


class Measure(msgspec.Struct, frozen=True):
    """``workers.tools.measure`` is to measure, for about ``seconds``, one of three things.

    "decode": steps of one token for so many streams; "prefill": one prompt of so many tokens at
    once; "mix": the engine kept busy by so many clients.
    """

    what: str
    sizes: list[int]
    seconds: float
    depth: int | None = None
    """Tokens of each stream before those that are measured; None: MIX_PROMPT, and no others before
    those of "prefill"."""


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """Tokens a second at a size; of a mix, tokens of output."""

    size: int
    tokens_per_s: float


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """The answer to :class:`Measure`. Sizes that would take too long are left out."""

    rates: list[Rate]
    memory: int
    """Bytes of the process; where the system tells, memory that is shared counts in parts (PSS)."""


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """``workers.tools.measure`` is ready."""

    n_ctx: int
    """KV cells."""


class MeasureFailed(msgspec.Struct, frozen=True, tag="measure_failed"):
    """The answer that this spec can't be measured; one line that says why."""

    message: str


FromMeasurer = Loaded | Measured | MeasureFailed
