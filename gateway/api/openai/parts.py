"""The parts of a message's content: texts in their many spellings, thoughts, and what is no text.

Nothing is fetched here, and no part's data is shown in an error or a log.
"""

import binascii
import urllib.parse
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from gateway.api.nested import Extensible, type_of
from gateway.core.errors import (
    AudioNotSupported,
    ContentNotSupported,
    FileNotSupported,
    ImageNotSupported,
    VideoNotSupported,
)

TEXTS = ("text", "input_text", "output_text")
THOUGHTS = ("thinking", "reasoning", "redacted_thinking")
MEDIA: dict[str, type[ContentNotSupported]] = {
    **dict.fromkeys(("image", "image_url", "image_file", "input_image"), ImageNotSupported),
    "computer_screenshot": ImageNotSupported,
    **dict.fromkeys(("audio", "audio_url", "input_audio", "output_audio"), AudioNotSupported),
    **dict.fromkeys(("video", "video_url", "input_video"), VideoNotSupported),
    **dict.fromkeys(("file", "file_url", "input_file", "document"), FileNotSupported),
}
"""The error for each kind of part that only a model with more senses could take."""
TEXTUAL = ("application/json", "application/xml", "application/yaml", "application/x-yaml")
"""Media types of text, beside all that begin with ``text/``."""


class TextPart(Extensible):
    type: Literal["text", "input_text", "output_text"] = "text"
    text: str | None


class RefusalPart(Extensible):
    type: Literal["refusal"]
    refusal: str | None


class OtherPart(Extensible):
    """A thought, a document whose source is text, a picture, sound, or what no model can take.

    `image_url`, `input_audio` and their like are taken if the model takes pictures or sound. What
    it does not take is a 400 in the newest user message; elsewhere a text stands for it.
    """

    type: str = Field(json_schema_extra={"not": {"enum": [*TEXTS, "refusal"]}})


Part = TextPart | RefusalPart | OtherPart


def _kind(value: Any) -> str:
    """Return which model validates a part; a value that is none is an error of the first."""
    if isinstance(value, str):
        return "string"
    kind = type_of(value)
    if kind is None or kind in TEXTS:
        return "text"
    return "refusal" if kind == "refusal" else "other"


Parts = list[
    Annotated[
        Annotated[str, Tag("string")]
        | Annotated[TextPart, Tag("text")]
        | Annotated[RefusalPart, Tag("refusal")]
        | Annotated[OtherPart, Tag("other")],
        Discriminator(_kind),
    ]
]


def text_of(part: str | Part) -> str | None:
    """Return the text in a part; None if it is no text."""
    match part:
        case str():
            return part
        case TextPart():
            return part.text or ""
        case RefusalPart():
            return part.refusal or ""
    given = part.model_extra or {}
    if part.type in THOUGHTS:
        return thought_of(given)
    if isinstance(given.get("text"), str):
        return str(given["text"])
    return document_text(given) if MEDIA.get(part.type) is FileNotSupported else None


def thought_of(given: dict[str, Any]) -> str:
    """Return the thought in a part, block or detail of one; "" if it is encrypted."""
    for name in ("thinking", "reasoning", "text", "summary", "content"):
        found = _joined(given.get(name))
        if found:
            return found
    return ""


def _joined(value: Any) -> str:
    """Return a string, or the strings in a list of texts: as thoughts and documents have them."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    texts = [each.get("text") if isinstance(each, dict) else each for each in value]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def document_text(given: dict[str, Any]) -> str | None:
    """Return the text of a document, below its title; None if it is none, or elsewhere."""
    source = given.get("source")
    inner = source if isinstance(source, dict) else given.get("file", given)
    if not isinstance(inner, dict):
        return None
    text = _source(inner)
    if text is None:
        return None
    names = (given.get("title"), inner.get("filename"), given.get("context"))
    return "\n".join([*(name for name in names if name and isinstance(name, str)), text])


def _source(inner: dict[str, Any]) -> str | None:
    """Return the text in a document's source: as it is, in parts, or encoded."""
    kind, data = inner.get("type"), inner.get("data")
    if kind == "content":
        return _joined(inner.get("content")) or None
    if isinstance(data, str):
        media = inner.get("media_type")
        if kind == "base64" and isinstance(media, str):
            return _decoded(media, data)
        return data if kind == "text" else None
    url = inner.get("file_data")
    if isinstance(url, str) and url[:5].lower() == "data:":
        head, comma, rest = url[5:].partition(",")
        media, *options = head.lower().split(";")
        if comma and "base64" in options:
            return _decoded(media, rest)
        return _utf8(urllib.parse.unquote_to_bytes(rest)) if comma and _textual(media) else None
    return None


def _decoded(media: str, data: str) -> str | None:
    """Return text out of base64; None if the media type is no text, or the data is not."""
    if not _textual(media):
        return None
    try:
        return _utf8(binascii.a2b_base64(data))
    except ValueError:  # binascii.Error, or characters that are not ASCII
        return None


def _textual(media: str) -> bool:
    kind = media.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in TEXTUAL


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
