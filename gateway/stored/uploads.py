"""Uploads: a file that comes in parts, which may be sent again after a broken connection.

Each part is a blob of its own. To complete an upload is to write the parts that the client names,
in its order, into one blob; the parts are deleted then, as they are when it is cancelled or its
time is over.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.errors import (
    BadRequest,
    FileTooLarge,
    NotFound,
    QuotaExceeded,
    StorageFull,
    UploadEnded,
)
from gateway.stored.blobs import Blob, BlobMissing, Blobs
from gateway.stored.database import Database
from gateway.stored.files import Files, StoredFile
from gateway.stored.ids import may_be_id, new_id
from gateway.stored.incoming import Clock
from gateway.stored.quota import LEAST, check, used
from gateway.stored.tables import upload_parts, uploads

AGE_S = 86400
"""Seconds that an upload may take: a night, after which the rest can still be sent."""
KEPT_S = 30 * 86400
"""Seconds that one is remembered."""
MOST_KEPT = 10_000
"""Uploads of an owner that are remembered after their end: their rows count in no quota."""
COLUMNS = tuple(each for each in uploads.c if each.name != "owner")

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


@dataclass(frozen=True, slots=True)
class StoredUpload:
    """An upload as it is told."""

    id: str
    purpose: str
    filename: str
    bytes: int
    status: UploadStatus
    created_at: int
    expires_at: int
    file_age: int | None
    """Seconds that the file is to live."""
    file: str | None
    """Its id, once the upload is completed."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    id: str
    upload: str
    bytes: int
    created_at: int


class Uploads:
    """All uploads of a store. Another owner's are not found."""

    def __init__(self, database: Database, blobs: Blobs, files: Files, clock: Clock) -> None:
        self._database, self._blobs, self._files, self._clock = database, blobs, files, clock
        self._joining = set[tuple[str, str]]()
        """Owners and ids of uploads whose parts are being joined: each takes its bytes once more
        meanwhile."""

    async def create(
        self,
        owner: str,
        purpose: str,
        filename: str,
        size: int,
        file_age: int | None,
        room: int,
    ) -> StoredUpload:
        """Begin one of ``size`` bytes. Raises FileTooLarge, or QuotaExceeded."""
        if size > self._files.most:
            most = self._files.most
            raise FileTooLarge(f"'bytes': a file may have {most} at most", param="bytes")
        now = int(self._clock())
        row = {
            "id": new_id("upload_"),
            "owner": owner,
            "purpose": purpose,
            "filename": filename.encode("utf-8", "replace"),
            "bytes": size,
            "status": "pending",
            "created_at": now,
            "expires_at": now + AGE_S,
            "file_age": file_age,
        }
        async with self._database.begin() as connection:
            check(await used(connection, owner) + size + LEAST, room)
            made = await connection.execute(insert(uploads).values(**row).returning(*COLUMNS))
            return _upload(made.one())

    async def get(self, owner: str, id_: str) -> StoredUpload:
        """Raises NotFound."""
        async with self._database.read() as connection:
            return await self._find(connection, owner, id_)

    async def pending(self, owner: str, id_: str) -> StoredUpload:
        """Raises NotFound, or UploadEnded if it takes no more parts."""
        return _open(await self.get(owner, id_))

    async def add_part(self, owner: str, id_: str, blob: Blob, room: int) -> StoredPart:
        """Add a part. Raises NotFound, UploadEnded or QuotaExceeded; the blob is deleted then."""
        part = StoredPart(new_id("part_"), id_, blob.size, int(self._clock()))
        row = {"blob": blob.id, "id": part.id, "upload": id_, "bytes": blob.size}
        try:
            async with self._database.begin() as connection:
                check(await used(connection, owner) + blob.size + LEAST, room)
                _open(await self._find(connection, owner, id_, lock=True))
                await connection.execute(
                    insert(upload_parts).values(**row, created_at=part.created_at)
                )
        except (NotFound, UploadEnded, QuotaExceeded, StorageFull):
            await self._blobs.delete(blob.id)
            raise
        return part

    async def complete(
        self, owner: str, id_: str, part_ids: Sequence[str], md5: str | None = None
    ) -> tuple[StoredUpload, StoredFile]:
        """Make the file of the named parts, in this order.

        Raises NotFound, UploadEnded, or BadRequest if the parts are not what was announced; then
        the upload is still there.
        """
        if (owner, id_) in self._joining:
            raise UploadEnded("the upload is being completed", param="upload_id")
        self._joining.add((owner, id_))
        try:
            return await self._complete(owner, id_, part_ids, md5)
        finally:
            self._joining.remove((owner, id_))

    async def _complete(
        self, owner: str, id_: str, part_ids: Sequence[str], md5: str | None
    ) -> tuple[StoredUpload, StoredFile]:
        async with self._database.read() as connection:
            upload = _open(await self._find(connection, owner, id_))
            found = await self._parts(connection, id_)
        blob = await self._joined(upload, _chosen(found, part_ids), md5)
        try:
            async with self._database.begin() as connection:
                _open(await self._find(connection, owner, id_, lock=True))
                given = (upload.purpose, upload.filename, upload.file_age)
                file = await self._files.insert(connection, owner, blob, *given)
                spare = await self._end(connection, id_, "completed", file.id)
        except (NotFound, UploadEnded, StorageFull):
            await self._blobs.delete(blob.id)
            raise
        await self._drop(spare)
        return await self.get(owner, id_), file

    async def cancel(self, owner: str, id_: str) -> StoredUpload:
        """Raises NotFound, or UploadEnded."""
        async with self._database.begin() as connection:
            _open(await self._find(connection, owner, id_, lock=True))
            spare = await self._end(connection, id_, "cancelled")
        await self._drop(spare)
        return await self.get(owner, id_)

    async def sweep(self) -> None:
        """End the uploads whose time is over, and forget those that ended long ago."""
        now = int(self._clock())
        late = (uploads.c.status == "pending") & (uploads.c.expires_at <= now)
        spare: list[str] = []
        async with self._database.begin() as connection:
            for id_ in (await connection.execute(select(uploads.c.id).where(late))).scalars().all():
                spare += await self._end(connection, id_, "expired")
            old = (uploads.c.status != "pending") & (uploads.c.expires_at <= now - KEPT_S)
            forgotten = old | uploads.c.id.in_(_too_many())
            await connection.execute(delete(uploads).where(forgotten))
        await self._drop(spare)

    async def _joined(
        self, upload: StoredUpload, parts: Sequence[Row[Any]], md5: str | None
    ) -> Blob:
        size = sum(part.bytes for part in parts)
        if size != upload.bytes:
            message = f"'part_ids': these have {size} bytes, and {upload.bytes} were announced"
            raise BadRequest(message, param="part_ids")
        found = hashlib.md5(usedforsecurity=False)
        writer = self._blobs.writer()
        try:
            async for piece in self._contents(parts):
                found.update(piece)
                await writer.write(piece)
            if md5 is not None and md5.lower() != found.hexdigest():
                message = f"'md5': the parts have {found.hexdigest()}"
                raise BadRequest(message, param="md5")
            return await writer.commit()
        finally:
            await writer.abort()  # nothing, after a commit

    async def _contents(self, parts: Sequence[Row[Any]]) -> AsyncIterator[bytes]:
        for part in parts:
            try:
                async for piece in self._blobs.read(part.blob):
                    yield piece
            except BlobMissing:  # completed or cancelled meanwhile
                raise UploadEnded("the upload has ended meanwhile") from None

    async def _find(
        self, connection: AsyncConnection, owner: str, id_: str, *, lock: bool = False
    ) -> StoredUpload:
        """``lock``: no other transaction changes it before this one has ended."""
        query = select(*COLUMNS).where(uploads.c.id == id_, uploads.c.owner == owner)
        if lock:
            query = query.with_for_update()
        row = (await connection.execute(query)).one_or_none() if may_be_id(id_) else None
        if row is None:
            raise NotFound(f"there is no upload '{id_[:64]}'", param="upload_id")
        upload = _upload(row)
        if upload.status == "pending" and upload.expires_at <= self._clock():
            return replace(upload, status="expired")
        return upload

    async def _parts(self, connection: AsyncConnection, id_: str) -> Sequence[Row[Any]]:
        query = select(upload_parts).where(upload_parts.c.upload == id_)
        return (await connection.execute(query)).all()

    async def _end(
        self,
        connection: AsyncConnection,
        id_: str,
        status: UploadStatus,
        file: str | None = None,
    ) -> list[str]:
        """Note the end, and return the parts' blobs, which are not needed any more."""
        spare = [part.blob for part in await self._parts(connection, id_)]
        await connection.execute(delete(upload_parts).where(upload_parts.c.upload == id_))
        ended = update(uploads).where(uploads.c.id == id_).values(status=status, file=file)
        await connection.execute(ended)
        return spare

    async def _drop(self, blobs: Sequence[str]) -> None:
        for blob in blobs:
            await self._blobs.delete(blob)


def _too_many() -> Select[tuple[str]]:
    """Return the query for those that have ended beyond the newest of each owner."""
    place = func.row_number().over(
        partition_by=uploads.c.owner, order_by=uploads.c.created_at.desc()
    )
    ended = select(uploads.c.id, place.label("place")).where(uploads.c.status != "pending")
    numbered = ended.subquery()
    return select(numbered.c.id).where(numbered.c.place > MOST_KEPT)


def _chosen(found: Sequence[Row[Any]], wanted: Sequence[str]) -> list[Row[Any]]:
    """Return the parts in the order in which the client names them. Raises BadRequest."""
    by_id = {part.id: part for part in found}
    chosen = []
    for at, id_ in enumerate(wanted):
        part = by_id.pop(id_, None)
        if part is None:
            param = f"part_ids.{at}"
            raise BadRequest(f"'{param}': no part of this upload, or named twice", param=param)
        chosen.append(part)
    return chosen


def _open(upload: StoredUpload) -> StoredUpload:
    if upload.status != "pending":
        raise UploadEnded(f"the upload is {upload.status}", param="upload_id")
    return upload


def _upload(row: Row[Any]) -> StoredUpload:
    fields = dict(row._mapping)
    return StoredUpload(**{**fields, "filename": fields["filename"].decode()})
