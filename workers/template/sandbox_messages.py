"""The messages between a worker and the process that renders its template. Pure."""

from typing import Any

import msgspec


class SandboxLimits(msgspec.Struct, frozen=True):
    """The limits of one rendering. A conversation of 100 messages takes a millisecond."""

    cpu_s: float = 2.0
    """CPU seconds of the process, the kernel's work for it included."""
    wall_s: float = 60.0
    """For a process that gets nowhere without using its CPU time."""
    memory: int = 512 << 20
    """Bytes of address space, the interpreter's 30 MiB included. macOS does not enforce it."""


class Compile(msgspec.Struct, frozen=True, tag="compile"):
    """The first request, and the first to a replacement. ``source`` None: the fallback."""

    source: str | None
    bos: str
    eos: str
    limits: SandboxLimits


class Render(msgspec.Struct, frozen=True, tag="render"):
    messages: list[dict[str, Any]]
    now: float
    tools: list[dict[str, Any]] | None
    arguments: dict[str, Any] | None
    opens: bool


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """Several conversations under the limits of one."""

    conversations: list[list[dict[str, Any]]]
    now: float


class Convert(msgspec.Struct, frozen=True, tag="convert"):
    """A client's grammar, to be had in llguidance's Lark."""

    source: str


class Rendered(msgspec.Struct, frozen=True, tag="rendered"):
    """The answer to most; "" to the first."""

    text: str


class Probed(msgspec.Struct, frozen=True, tag="probed"):
    """The answer to a probe; None for what the template refuses."""

    texts: list[str | None]


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """Becomes a :class:`TemplateFailed` or :class:`GrammarFailed`."""

    reason: str
    refused: bool = False
    """True: the template did so, and takes other messages maybe."""


Request = Compile | Render | Probe | Convert
Reply = Rendered | Probed | Rejected
