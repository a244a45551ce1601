"""The turns of a conversation, and their blocks. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gateway.core.errors import ContentNotSupported

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextBlock:
    text: str


@dataclass(frozen=True, slots=True)
class ThoughtBlock:
    """A thought of an earlier answer, as the model had it."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBlock:
    """A call in an earlier answer; ``id`` is what its result names."""

    id: str
    name: str
    arguments: dict[str, Any] | str
    """An object; or the text that was none, as the model wrote it: see
    :func:`gateway.conversation.arguments.arguments`."""


@dataclass(frozen=True, slots=True)
class MediaBlock:
    """An image, audio, a file: what is no text, and is not kept where no model takes it."""

    kind: type[ContentNotSupported]
    """The error for a model that does not take it; its ``thing`` says what it is."""
    path: tuple[str | int, ...]
    """Its place in the request."""
    typed: bool = True
    """True: its field ``type`` says what it is."""


AnyBlock = TextBlock | ThoughtBlock | CallBlock | MediaBlock


@dataclass(frozen=True, slots=True)
class Turn:
    """The words of one side, until the other has them."""

    role: Role
    blocks: list[AnyBlock] = field(default_factory=list)
    call_id: str = ""
    """Of the role "tool": the call that this is the result of."""
    name: str | None = None
    """The speaker's, for templates that write it."""


def gathered(turns: Iterable[Turn]) -> list[Turn]:
    """Return the turns with neighbouring ones of the assistant as one: a template writes a thought,
    a text and the calls of an answer together."""
    found: list[Turn] = []
    for turn in turns:
        if turn.role != "assistant":
            found.append(turn)
        elif found and found[-1].role == "assistant":
            found[-1].blocks.extend(turn.blocks)
        else:
            found.append(replace(turn, blocks=[*turn.blocks]))  # which others are added to
    return found
