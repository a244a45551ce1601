"""Blobs: bytes that are written once, read often, and whole or absent.

A blob counts when :meth:`BlobWriter.commit` has returned; then it survives a power failure. Before,
it is not there, whatever happens to the server. Its id is made here and tells nothing.
"""

import re
import secrets
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Protocol

ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Blob:
    """One that is written."""

    id: str
    size: int


class BlobMissing(Exception):
    """There is no blob of this id, or not all of it: it was deleted meanwhile."""


class BlobWriter(Protocol):
    """One that is being written; to be ended by ``commit`` or ``abort``."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to it. Raises StorageFull; then only ``abort`` is left."""
        ...

    async def commit(self) -> Blob:
        """Make it count. Raises StorageFull likewise."""
        ...

    async def abort(self) -> None:
        """Delete what was written, unless ``commit`` has returned; then do nothing."""
        ...


class Blobs(Protocol):
    """All blobs of a store."""

    def writer(self) -> BlobWriter:
        """Begin another."""
        ...

    def read(self, id_: str, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Return its bytes in pieces, or ``length`` of them at most from ``offset`` on.

        Raises :class:`BlobMissing` at a piece.
        """
        ...

    async def delete(self, id_: str) -> None:
        """Delete one, if it is there."""
        ...

    async def ids(self) -> Collection[str]:
        """Return the ids of all that count, and are old enough to be in use if ever."""
        ...

    async def sweep(self) -> None:
        """Delete what writers left that are dead."""
        ...

    def close(self) -> None:
        """Give back what it has of the system."""
        ...


def new_id() -> str:
    """Return an id that no other blob has."""
    return secrets.token_hex(16)
