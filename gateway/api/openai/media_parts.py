"""Parts of a content that are pictures or sound, in all their spellings, to their sources. Pure.

    {"type": "image_url", "image_url": {"url": "data:image/png;base64,...", "detail": "auto"}}
    {"type": "image_url", "image_url": "https://..."}                  as some clients write it
    {"type": "input_audio", "input_audio": {"data": "...", "format": "wav"}}
    {"type": "input_image", "image_url": "data:...", "file_id": null}  of Responses
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "..."}}

What a part says of its format is not read: the bytes tell it.
"""

from collections.abc import Mapping
from typing import Any

from gateway.api.openai.parts import MEDIA
from gateway.conversation import SENSES, MediaBlock, MediaOrigin, Sense
from gateway.core.errors import ContentNotSupported

Path = tuple[str | int, ...]

_PLACES: dict[Sense, tuple[tuple[str, ...], ...]] = {
    "image": (("image_url", "url"), ("image_url",), ("source", "data"), ("source", "url")),
    "audio": (
        ("input_audio", "data"),
        ("audio_url", "url"),
        ("audio_url",),
        ("source", "data"),
        ("source", "url"),
    ),
}
"""Fields that have the bytes or their address, the first that is there."""
_FILES = (("file_id",), ("source", "file_id"), ("image_file", "file_id"))
"""Fields that have the id of a stored file."""


def media_block(kind: str, given: Mapping[str, Any], path: Path) -> MediaBlock:
    """Return the block of a part that is no text; ``path``: its place in the request."""
    error = MEDIA.get(kind, ContentNotSupported)
    sense = SENSES.get(error)
    source = None if sense is None else _source(sense, given, path)
    return MediaBlock(error, path, source=source)


def _source(sense: Sense, given: Mapping[str, Any], path: Path) -> MediaOrigin | None:
    for stored, places in ((False, _PLACES[sense]), (True, _FILES)):
        for place in places:
            value = _at(given, place)
            if value:
                return MediaOrigin(sense, value, ".".join(map(str, (*path, *place))), stored)
    return None


def _at(given: Mapping[str, Any], place: tuple[str, ...]) -> str | None:
    """Return the string at a place; None if there is none."""
    found: Any = given
    for name in place:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None
