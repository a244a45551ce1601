"""Pictures and sound of a conversation; a part of :mod:`workers.protocol`.

A message with media has a list of parts as its content, in any role: ``{"type": "text", "text":
...}`` and ``{"type": "medium", "at": index into Chat.media}``. What was sent is in
:class:`Medium` alone, as bytes.
"""

from hashlib import sha256
from typing import Literal

import msgspec

MEDIUM = "medium"
"""The type of the part of a message that stands for a medium."""


class Medium(msgspec.Struct, frozen=True):
    """A picture or a sound, as the client sent it. A worker decodes it, never the gateway."""

    kind: Literal["image", "audio"]
    data: bytes
    """The file; base64 is decoded already."""
    digest: str
    """SHA-256 of ``data``, hexadecimal."""
    param: str
    """The field of the request that it came from, to be named if it is refused."""


def medium(kind: Literal["image", "audio"], data: bytes, param: str) -> Medium:
    """Return a medium of a file's bytes, with their digest."""
    return Medium(kind, data, sha256(data).hexdigest(), param)


class MediaBounds(msgspec.Struct, frozen=True):
    """The largest media that a worker decodes, and how many tokens a picture takes."""

    pixels: int = 32 << 20
    """Of a picture: width times height, read from its header before any is decoded."""
    seconds: float = 600.0
    """Of a sound."""
    timeout_s: float = 120.0
    """Seconds of CPU, for each thread, that decoding and encoding a medium may take; beside busy
    streams they are many more of the clock. Beyond it, it is refused, and its process ended."""
    image_min_tokens: int = -1
    """Tokens that a picture takes at least, if the model can have it larger or smaller; -1: as the
    model's file says."""
    image_max_tokens: int = -1
    cache_bytes: int = 64 << 20
    """Host memory for encoded media, which are used again when their cells are gone."""
