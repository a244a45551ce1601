"""Base64 to bytes, in slices between which the event loop has its turn.

Python decodes while it holds the interpreter's lock, so a thread would not help: 20 MB are some 60
ms in one piece, for which all streams of the process would stand still. A slice takes less than a
millisecond.
"""

import asyncio
import binascii
import re
from hashlib import sha256
from io import BytesIO

SLICE = 128 * 1024
"""Characters that are decoded at once; a multiple of four."""
IN_THREAD = 1 << 20
"""Bytes from which a digest is made in a thread: hashing needs no lock."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"
_PADDING = ord("=")
_HEAD = re.compile(rb"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+(?:=[\w.+\"-]*)?)*),", re.IGNORECASE)
"""The beginning of a data: URI; its last parameter may be base64."""
LONGEST_HEAD = 512


class NotBase64(ValueError):
    """The text is no base64; one line."""


def body_of(text: memoryview) -> memoryview:
    """Return the base64 in a text, which a data: URI may bring. Raises NotBase64."""
    head = bytes(text[:LONGEST_HEAD])
    if head[:5].lower() != b"data:":
        return text
    found = _HEAD.match(head)
    if found is None:
        raise NotBase64("it is no data: URI that can be read")
    if not found[2].lower().endswith(b";base64"):
        raise NotBase64("the data of a data: URI should be base64")
    return text[found.end() :]


def most_bytes(text: memoryview) -> int:
    """Return how many bytes a base64 text is at most."""
    return len(text) * 3 // 4


async def decoded(text: memoryview) -> bytes:
    """Return the bytes of a base64 text: padded or not, of either alphabet, blanks left out.

    Raises NotBase64.
    """
    if len(text) <= SLICE:
        return _decode(_clean(text), last=True)
    found, rest = BytesIO(), b""
    for at in range(0, len(text), SLICE):
        piece, last = text[at : at + SLICE], at + SLICE >= len(text)
        if rest or last or not (plain := _plain(piece)):
            clean = rest + _clean(piece)
            end = len(clean) if last else len(clean) & ~3
            plain, rest = _decode(clean[:end], last=last), clean[end:]
        found.write(plain)
        await asyncio.sleep(0)
    return found.getvalue()  # without a copy: it is what was written


def _plain(piece: memoryview) -> bytes:
    """Return the bytes of what is plain base64 in groups of four, as most is; none if it is not."""
    try:
        return b"" if piece[-1] == _PADDING else binascii.a2b_base64(piece, strict_mode=True)
    except binascii.Error:
        return b""


def _clean(text: memoryview) -> bytes:
    return bytes(text).translate(_URL_SAFE, _BLANKS)


def _decode(piece: bytes, *, last: bool) -> bytes:
    if last:
        if len(piece) % 4 == 1:
            raise NotBase64("it ends too early for base64")
        piece += b"=" * (-len(piece) % 4)
    elif b"=" in piece[-4:]:
        raise NotBase64("base64 goes on after its end")
    try:
        return binascii.a2b_base64(piece, strict_mode=True) if piece else b""
    except binascii.Error:
        raise NotBase64("it is no base64") from None


async def digest(data: bytes) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    if len(data) < IN_THREAD:
        return sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: sha256(data).hexdigest())
