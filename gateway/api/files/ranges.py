"""The part of a file that a download asks for, as RFC 9110 has it (section 14). Pure.

One range is served; a header with several, or with anything else, is ignored, as the RFC allows:
then the whole file comes. An example, of a file of 1,000 bytes: ``bytes=900-`` and ``bytes=-100``
are its last hundred, ``bytes=0-0`` its first byte, and ``bytes=1000-`` is beyond its end.
"""

import re

from gateway.core.errors import RangeNotSatisfiable

RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


def wanted(given: str | None, condition: str | None, tag: str, size: int) -> range | None:
    """Return the bytes that are wanted of ``size``; None: all of them, as an answer of its own.

    ``given`` and ``condition``: the headers Range and If-Range. ``tag``: the file's entity tag; a
    condition that differs, a date included, is of another file. Raises RangeNotSatisfiable.
    """
    found = RANGE.fullmatch(given or "")
    if found is None or condition not in (None, tag):
        return None
    first, last = found.groups()
    if not first:
        if not last:
            return None
        count = int(last)
        bounds = range(max(0, size - count), size)
    elif last and int(last) < int(first):
        return None
    else:
        bounds = range(int(first), min(size, int(last) + 1) if last else size)
    if not bounds:
        raise RangeNotSatisfiable(f"the file has {size} bytes, and none in this range", size)
    return bounds


def content_range(part: range, size: int) -> str:
    """Return the header Content-Range of a part."""
    return f"bytes {part.start}-{part.stop - 1}/{size}"
