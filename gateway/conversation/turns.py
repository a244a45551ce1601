"""The turns of a conversation, and their blocks. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gateway.core.errors import AudioNotSupported, ContentNotSupported, ImageNotSupported

Role = Literal["system", "user", "assistant", "tool"]
Sense = Literal["image", "audio"]
"""A kind of media that some models take."""
Senses = frozenset[Sense]
BLIND: Senses = frozenset()
ALL_SENSES: Senses = frozenset(("image", "audio"))
SENSES: dict[type[ContentNotSupported], Sense] = {
    ImageNotSupported: "image",
    AudioNotSupported: "audio",
}
"""Senses by the errors for models that lack them."""


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
class MediaOrigin:
    """The place of a picture's or a sound's bytes, as the client wrote it; nothing is read yet."""

    sense: Sense
    value: str
    """Base64, bare or in a data: URI; an address; or the id of a stored file."""
    field: str
    """The field of the request that has it, for errors."""
    stored: bool = False
    """True: it is the id of a file."""


@dataclass(frozen=True, slots=True)
class MediaBlock:
    """An image, audio, a file: what is no text, and is not kept where no model takes it."""

    kind: type[ContentNotSupported]
    """The error for a model that does not take it; its ``thing`` says what it is."""
    path: tuple[str | int, ...]
    """Its place in the request."""
    typed: bool = True
    """True: its field ``type`` says what it is."""
    source: MediaOrigin | None = None
    """None: it has no bytes that could be read, or is of a kind that no model takes."""

    @property
    def field(self) -> str:
        """Return the field of the request that is named in errors."""
        return ".".join(map(str, (*self.path, "type") if self.typed else self.path))


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
