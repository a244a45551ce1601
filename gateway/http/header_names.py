"""The names of headers as clients are used to reading them: Content-Type, X-Request-Id.

uvicorn writes them in lower case. Their case means nothing, but scripts that compare it exist, and
most servers have capitals. HTTP/2 has none, and is not spoken here.
"""

import asyncio
from functools import lru_cache

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

SPELT = {b"etag": b"ETag", b"ratelimit": b"RateLimit", b"www": b"WWW"}
"""Parts of names whose capitals are not the first letter alone."""


@lru_cache(maxsize=256)
def canonical_name(name: bytes) -> bytes:
    """Return a header's name with its capitals: content-type is Content-Type."""
    parts = name.lower().split(b"-")
    return b"-".join(SPELT.get(part) or part.capitalize() for part in parts)


def canonical_head(head: bytes) -> bytes:
    """Return a response's head, from its status line to its empty line, with such names.

    No value has an end of line in it: uvicorn refuses those.
    """
    status, *lines = head.split(b"\r\n")
    return b"\r\n".join([status, *map(_canonical_line, lines)])


def _canonical_line(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    return canonical_name(name) + colon + value


class HeadWriter(asyncio.Transport):
    """Stands before a response's transport until its head is written, so bodies cost nothing."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        super().__init__()
        self._cycle = cycle
        self._transport = cycle.transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a head with capitals, and step aside; "100 Continue" may come before it."""
        if self._cycle.response_started:
            self._cycle.transport = self._transport
            data = canonical_head(bytes(data))
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()
