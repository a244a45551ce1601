"""The media that a projector takes, by its own header: before any worker has loaded it."""

from pathlib import Path
from typing import Literal

from gateway.model_files import gguf

Medium = Literal["image", "audio"]
_KEYS: dict[str, Medium] = {
    "clip.has_vision_encoder": "image",
    "clip.has_audio_encoder": "audio",
}


def media(path: Path | None) -> frozenset[Medium]:
    """Return the media of a projector; of none, and of a file that can't be read, none."""
    if path is None:
        return frozenset()
    try:
        said = gguf.head(path)
    except gguf.Unreadable:  # its worker will say why
        return frozenset()
    return frozenset(medium for key, medium in _KEYS.items() if said.get(key) is True)


def size(path: Path | None) -> int:
    """Return the bytes of a projector's file; 0 if there is none."""
    try:
        return 0 if path is None else path.stat().st_size
    except OSError:
        return 0
