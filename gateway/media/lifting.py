"""Long texts in base64 are taken out of a body before its JSON is read. Pure.

A request with photos has tens of megabytes, of which a few kilobytes are a conversation. So a body
that is larger than bodies of text may be is read in two parts: strings of base64 stay in the bytes
that came, and a name stands for each in the JSON that is left, which has the bound of other bodies.
That spares a copy of each photo as a string, and no client can make a parser read more JSON than it
could without photos: a body of 40 MiB that is all brackets is refused unread.

Example: with 4 MiB for text and 32 for media, a body of 27 MiB has one string of 26.9 MiB. The JSON
that is parsed has {"url": "forge-lifted-5c0e...-0"} and 100 KiB more.
"""

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.core.errors import BadRequest, BodyTooLarge

WINDOW = 16 * 1024
"""A string that is lifted has at least two of these."""
_BEGINNING = re.compile(
    rb"(?:data:[\w.+-]*/?[\w.+-]*(?:;[\w.+=-]+)*,)?(?:[A-Za-z0-9+/_=-]|\\/){64}", re.IGNORECASE
)
_HEAD = 512


@dataclass(slots=True)
class LiftedTexts:
    """The strings of one body that stand outside of its JSON, by the names that stand for them."""

    data: bytes | bytearray = b""
    """The body."""
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Their beginnings and ends there, without their quotes."""
    used: set[str] = field(default_factory=set)

    def take(self, name: str) -> memoryview | None:
        """Return the characters of the string for which a name stands; None if it is no name."""
        place = self.places.get(name)
        if place is None:
            return None
        self.used.add(name)
        if self.data.find(b"\\", *place) < 0:
            return memoryview(self.data)[slice(*place)]
        return memoryview(self.whole(name).encode("utf-8", "replace"))  # PHP escapes slashes

    def whole(self, name: str) -> str:
        """Return a string as the client wrote it. Raises BadRequest if it is no JSON."""
        begin, end = self.places[name]
        try:
            found = orjson.loads(self.data[begin - 1 : end + 1])
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from error
        return str(found)

    def restored(self, value: Any) -> Any:
        """Return a value of JSON with the strings in it for which names stand.

        It must be nested less deeply than recursion is allowed.
        """
        if isinstance(value, dict):
            return {name: self.restored(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self.restored(each) for each in value]
        return self.whole(value) if isinstance(value, str) and value in self.places else value

    def check(self, most_text: int) -> None:
        """Raises BodyTooLarge if a string was no picture and no sound, but text."""
        if len(self.used) < len(self.places):
            raise too_large(most_text)


def too_large(most_text: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the body without its pictures and sound is larger than the {most_text} bytes that this "
        "server takes"
    )


def lift(data: bytes | bytearray, most_text: int) -> tuple[bytes, LiftedTexts]:
    """Return a body's JSON without its long strings of base64, and these.

    Only strings that begin like base64 are lifted: outside of a string JSON has no such run, so
    the JSON is as valid as it was. Raises BodyTooLarge if more than ``most_text`` bytes are left.
    """
    view, found = memoryview(data), LiftedTexts(data)
    prefix = f"forge-lifted-{secrets.token_hex(16)}-"
    pieces, start, at, left = list[bytes](), 0, 0, 0
    while at < len(data):
        if data.find(b'"', at, at + WINDOW) >= 0:
            at += WINDOW
            continue
        begin, end = data.rfind(b'"', start, at) + 1, data.find(b'"', at + WINDOW)
        if end < 0:
            break
        if begin and end - begin >= 2 * WINDOW and _BEGINNING.match(data[begin : begin + _HEAD]):
            name = f"{prefix}{len(found.places)}"
            found.places[name] = (begin, end)
            left += begin - start
            if left > most_text:
                break
            pieces += (bytes(view[start:begin]), name.encode())
            start = end
        at = end
    left = len(data) - sum(end - begin for begin, end in found.places.values())
    if left > most_text:
        raise too_large(most_text)
    return b"".join([*pieces, bytes(view[start:])]), found
