"""The JSON of a body: strict, but for half a surrogate pair; wrong encodings are named. Pure."""

import re
from typing import Any

import orjson

from gateway.core.errors import BadRequest

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte order marks, longer ones first."""
_UTF8_MARK = b"\xef\xbb\xbf"
_RUN = re.compile(
    rb"""
    (?: [^\\]++                                                    # text
    |   \\[^u]                                                     # an escape, of a backslash, too
    |   \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}  # a pair
    |   \\u(?![dD][89a-fA-F])                                      # another character
    )*+
    (\\u[dD][89a-fA-F][0-9a-fA-F]{2})?+                            # half of a pair
    """,
    re.VERBOSE | re.DOTALL,
)
"""Whole characters, as many as there are, and the half after them: each byte is read once."""
_ANY_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def load(data: bytes | bytearray) -> Any:
    """Return the value in a body. Raises BadRequest.

    What strings are cut into by clients that count UTF-16 becomes U+FFFD: it can't be unsent.
    """
    if data.startswith(_UTF8_MARK):
        data = data[len(_UTF8_MARK) :]  # RFC 8259 lets parsers ignore it
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        first = error
    problem = _encoding(data)
    if problem is not None:
        raise BadRequest(f"the body is not valid JSON: it must be UTF-8, and {problem}") from first
    if _ANY_HALF.search(data):
        try:
            return orjson.loads(_RUN.sub(_whole, data))
        except orjson.JSONDecodeError as error:
            first = error
    raise BadRequest(f"the body is not valid JSON: {first}") from first


def _whole(run: re.Match[bytes]) -> bytes:
    return run[0] if run[1] is None else run[0][: -len(run[1])] + rb"\ufffd"


def _encoding(data: bytes | bytearray) -> str | None:
    """Return what shows that a body is not UTF-8, if anything does."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return f"begins with the byte order mark of {name}"
    beginning = bytes(data[:4])
    if beginning.count(0) >= 2 and len(beginning) == 4:
        return f"looks like UTF-{32 if beginning.count(0) == 3 else 16}"
    try:
        bytes(data).decode()
    except UnicodeDecodeError as error:
        return f"has the byte 0x{data[error.start]:02x} at {error.start}, as in Latin-1"
    return None
