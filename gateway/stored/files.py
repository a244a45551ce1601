"""Files of the keys: a row each, and a blob.

The blob is written first and the row then, so a file is whole or not there; a deleted one loses
its row first. A server that dies between the two leaves a blob without a row, which the next one
sweeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.errors import NotFound, QuotaExceeded, StorageFull
from gateway.stored.blobs import Blob, Blobs
from gateway.stored.database import Database
from gateway.stored.ids import may_be_id, new_id
from gateway.stored.incoming import Clock, IncomingFile
from gateway.stored.quota import LEAST, Arriving, AtOnce, check, used
from gateway.stored.tables import files

PART = 500
"""Rows that are read in one turn of the event loop."""
SWEPT = 500
"""Rows of one transaction of a sweep."""
COLUMNS = tuple(each for each in files.c if each.name != "owner")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is told; ``blob`` is its content."""

    seq: int
    id: str
    purpose: str
    filename: str
    bytes: int
    blob: str
    created_at: int
    expires_at: int | None


class Files:
    """All files of a store. Another owner's are not found."""

    def __init__(self, database: Database, blobs: Blobs, clock: Clock, most: int) -> None:
        """``most``: bytes of one file."""
        self._database, self._blobs, self._clock = database, blobs, clock
        self.most = most
        self._arriving = Arriving()
        self.leaving = AtOnce()
        """Contents that are being sent."""

    async def receive(self, owner: str, room: int, most: int | None = None) -> IncomingFile:
        """Begin to take a file of an owner that may keep ``room`` bytes in all.

        Raises QuotaExceeded if there is no room even for an empty one, or QueueFull.
        """
        async with self._database.read() as connection:
            taken = await used(connection, owner)
        check(taken + LEAST, room)
        writer = self._blobs.writer()
        return IncomingFile(writer, self._arriving, owner, taken, room, most or self.most)

    async def keep(
        self,
        owner: str,
        blob: Blob,
        purpose: str,
        filename: str,
        age: int | None = None,
        room: int | None = None,
    ) -> StoredFile:
        """Make a file of a blob that expires ``age`` seconds later; None: never.

        ``room`` None: whatever the owner keeps already.

        Raises QuotaExceeded; then the blob is deleted.
        """
        try:
            async with self._database.begin() as connection:
                if room is not None:
                    check(await used(connection, owner) + blob.size + LEAST, room)
                return await self.insert(connection, owner, blob, purpose, filename, age)
        except (QuotaExceeded, StorageFull):  # after any other error the row may be there
            await self._blobs.delete(blob.id)
            raise

    async def insert(
        self,
        connection: AsyncConnection,
        owner: str,
        blob: Blob,
        purpose: str,
        filename: str,
        age: int | None,
    ) -> StoredFile:
        """Make a file of a blob, as a part of a transaction."""
        now = int(self._clock())
        row = {
            "id": new_id("file-"),
            "purpose": purpose,
            "bytes": blob.size,
            "blob": blob.id,
            "created_at": now,
            "expires_at": None if age is None else now + age,
        }
        named = {**row, "owner": owner, "filename": filename.encode("utf-8", "replace")}
        made = await connection.execute(insert(files).values(**named).returning(*COLUMNS))
        return _file(made.one())

    async def get(self, owner: str, id_: str) -> StoredFile:
        """Raises NotFound."""
        async with self._database.read() as connection:
            return await self._find(connection, owner, id_, "file_id")

    async def list(
        self,
        owner: str,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 10000,
        order: Literal["asc", "desc"] = "desc",
    ) -> tuple[Sequence[StoredFile], bool]:
        """Return a page, and whether there is more behind it. Raises NotFound for ``after``."""
        at = files.c.seq
        query = select(*COLUMNS).where(files.c.owner == owner, self._alive())
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        query = query.order_by(at.asc() if order == "asc" else at.desc()).limit(limit + 1)
        async with self._database.read() as connection:
            if after is not None:
                last = (await self._find(connection, owner, after, "after")).seq
                query = query.where(at > last if order == "asc" else at < last)
            found = list[StoredFile]()
            async for part in (await connection.stream(query)).partitions(PART):
                found += map(_file, part)  # the loop has its turn between two parts
        return found[:limit], len(found) > limit

    async def delete(self, owner: str, id_: str) -> None:
        """Raises NotFound."""
        async with self._database.begin() as connection:
            found = await self._find(connection, owner, id_, "file_id")
            await connection.execute(delete(files).where(files.c.seq == found.seq))
        await self._blobs.delete(found.blob)

    async def sweep(self) -> None:
        """Delete the files whose time is over."""
        old = select(files.c.seq, files.c.blob).where(~self._alive()).limit(SWEPT)
        while True:
            async with self._database.begin() as connection:
                rows = (await connection.execute(old)).all()
                seqs = [row.seq for row in rows]
                await connection.execute(delete(files).where(files.c.seq.in_(seqs)))
            for row in rows:
                await self._blobs.delete(row.blob)
            if len(rows) < SWEPT:
                return

    async def _find(
        self, connection: AsyncConnection, owner: str, id_: str, param: str
    ) -> StoredFile:
        query = select(*COLUMNS).where(files.c.id == id_, files.c.owner == owner, self._alive())
        row = (await connection.execute(query)).one_or_none() if may_be_id(id_) else None
        if row is None:
            raise NotFound(f"there is no file '{id_[:64]}'", param=param)
        return _file(row)

    def _alive(self) -> ColumnElement[bool]:
        return files.c.expires_at.is_(None) | (files.c.expires_at > int(self._clock()))


def _file(row: Row[Any]) -> StoredFile:
    fields = dict(row._mapping)
    return StoredFile(**{**fields, "filename": fields["filename"].decode()})
