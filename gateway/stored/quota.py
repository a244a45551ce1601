"""Bytes that each key keeps, and may keep.

What is stored is summed by the database, in the transaction that adds to it; what is arriving is
counted in this process. Each thing costs :data:`LEAST` beside its bytes, so that a million empty
files are not free.
"""

from collections import Counter

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.errors import QueueFull, QuotaExceeded
from gateway.stored.tables import files, upload_parts, uploads

LEAST = 4096
"""A block of most file systems."""
MOST, MOST_OF_ONE = 128, 32
"""Files that come at the same time, and files that go, in all and of one key: each has a descriptor
and a buffer."""
RETRY_S = 5


async def used(connection: AsyncConnection, owner: str) -> int:
    """Return the bytes that an owner keeps. The next to ask for the same one waits for the end of
    the transaction, so that two do not fill the same room."""
    if connection.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtext('forge quota'), hashtext(:owner))")
        await connection.execute(lock, {"owner": owner})
    of_files = select(func.count(), func.sum(files.c.bytes)).where(files.c.owner == owner)
    of_parts = (
        select(func.count(), func.sum(upload_parts.c.bytes))
        .join_from(upload_parts, uploads)
        .where(uploads.c.owner == owner)
    )
    of_uploads = select(func.count()).where(uploads.c.owner == owner, uploads.c.status == "pending")
    total = LEAST * int((await connection.execute(of_uploads)).scalar_one())
    for query in (of_files, of_parts):
        count, size = (await connection.execute(query)).one()
        total += LEAST * int(count) + int(size or 0)
    return total


def check(total: int, room: int) -> None:
    """Raises QuotaExceeded if ``total`` bytes are more than there is ``room`` for."""
    if total > room:
        raise QuotaExceeded(
            f"this key may keep {room} bytes of files, each at least {LEAST}: delete some"
        )


class AtOnce:
    """Files that come or go at the same time, by their owners."""

    def __init__(self) -> None:
        self._files = Counter[str]()

    def begin(self, owner: str) -> None:
        """Count one more. Raises QueueFull if there are as many as may be."""
        if self._files.get(owner, 0) >= MOST_OF_ONE or self._files.total() >= MOST:
            raise QueueFull("too many files come or go at the same time", retry_after=RETRY_S)
        self._files[owner] += 1

    def end(self, owner: str) -> None:
        """Count one less."""
        self._files[owner] -= 1
        if not self._files[owner]:
            del self._files[owner]


class Arriving(AtOnce):
    """Files that are not stored yet, and their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = Counter[str]()

    def add(self, owner: str, size: int) -> int:
        """Count more, and return the sum of the owner's."""
        self._bytes[owner] += size
        return self._bytes[owner]

    def remove(self, owner: str, size: int) -> None:
        """Count fewer."""
        self._bytes[owner] -= size
        if not self._bytes[owner]:
            del self._bytes[owner]
