"""Blobs as rows of PostgreSQL, which several gateways share without a folder of all.

Chunks of one size, each in a transaction of its own; a row says when all are there. What a dead
gateway was writing is swept after a day in which nothing was added: the slowest upload that is
taken adds a chunk in a quarter of an hour.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

from sqlalchemy import delete, insert, select, update

from gateway.core.errors import ForgeError
from gateway.stored.blobs import Blob, BlobMissing, new_id
from gateway.stored.database import Database
from gateway.stored.tables import blob_chunks, blobs

CHUNK = 1024 * 1024
DEAD_S = 86400


class DatabaseBlobs:
    """The blobs of one database."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """``clock``: Unix seconds."""
        self._database, self._clock = database, clock

    def writer(self) -> "DatabaseBlobWriter":
        """Begin another."""
        return DatabaseBlobWriter(self._database, self._clock)

    async def read(
        self, id_: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Return its bytes in pieces."""
        query = select(blobs.c.size).where(blobs.c.id == id_, blobs.c.complete == 1)
        async with self._database.read() as connection:
            size = (await connection.execute(query)).scalar_one_or_none()
        if size is None:
            raise BlobMissing(id_)
        end = size if length is None else min(size, offset + length)
        while offset < end:
            number, skipped = divmod(offset, CHUNK)
            chunk = await self._chunk(id_, number)
            piece = chunk[skipped : skipped + end - offset]
            yield piece
            offset += len(piece)

    async def _chunk(self, id_: str, number: int) -> bytes:
        query = select(blob_chunks.c.data).where(
            blob_chunks.c.blob == id_, blob_chunks.c.number == number
        )
        async with self._database.read() as connection:
            data: bytes | None = (await connection.execute(query)).scalar_one_or_none()
        if not data:
            raise BlobMissing(id_)
        return data

    async def delete(self, id_: str) -> None:
        """Delete one, if it is there."""
        async with self._database.begin() as connection:
            await connection.execute(delete(blobs).where(blobs.c.id == id_))

    async def ids(self) -> set[str]:
        """Return the ids of all that another gateway is not about to use."""
        old = int(self._clock()) - DEAD_S
        query = select(blobs.c.id).where(blobs.c.complete == 1, blobs.c.touched_at < old)
        async with self._database.read() as connection:
            return {*(await connection.execute(query)).scalars()}

    async def sweep(self) -> None:
        """Delete what writers left that are dead."""
        dead = (blobs.c.complete == 0) & (blobs.c.touched_at < int(self._clock()) - DEAD_S)
        async with self._database.begin() as connection:
            await connection.execute(delete(blobs).where(dead))

    def close(self) -> None:
        """Do nothing: the database is closed by itself."""


class DatabaseBlobWriter:
    """Rows that do not count yet."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._id = new_id()
        self._gathered = bytearray()
        self._begun = False
        self._chunks = 0
        self._size = 0
        self._handed_over = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to it. Raises StorageFull."""
        self._gathered += data
        while len(self._gathered) >= CHUNK:
            chunk = bytes(self._gathered[:CHUNK])
            del self._gathered[:CHUNK]
            await self._put(chunk, complete=False)

    async def commit(self) -> Blob:
        """Make it count. Raises StorageFull."""
        await self._put(bytes(self._gathered), complete=True)
        self._handed_over = True
        return Blob(self._id, self._size)

    async def abort(self) -> None:
        """Delete what was written, unless ``commit`` has returned."""
        if self._begun and not self._handed_over:
            with contextlib.suppress(ForgeError):  # a sweep will
                async with self._database.begin() as connection:
                    await connection.execute(delete(blobs).where(blobs.c.id == self._id))

    async def _put(self, chunk: bytes, *, complete: bool) -> None:
        self._begun = True
        size = self._size + len(chunk)
        state = {"size": size, "complete": int(complete), "touched_at": int(self._clock())}
        async with self._database.begin() as connection:
            if self._chunks == 0:
                await connection.execute(insert(blobs).values(id=self._id, **state))
            else:
                await connection.execute(
                    update(blobs).where(blobs.c.id == self._id).values(**state)
                )
            if chunk:
                row = {"blob": self._id, "number": self._chunks, "data": chunk}
                await connection.execute(insert(blob_chunks).values(**row))
        self._size = size
        self._chunks += 1
