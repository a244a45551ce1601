"""One store of a place that is empty at first, and short ways to fill it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from gateway.stored import quota
from gateway.stored.blobs import Blob
from gateway.stored.store import Store
from gateway.stored.uploads import StoredUpload
from tests.support.stored_files import ROOM, SetClock

MIB = 1024 * 1024
SIZES = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5]
DAY = 86400


class Place(Protocol):
    """A folder or a database, and stores of it."""

    clock: SetClock

    def store(self, max_file: int = ROOM) -> Store: ...


def pattern(size: int) -> bytes:
    """Bytes that are nowhere the same."""
    return b"".join(hashlib.sha256(at.to_bytes(4)).digest() for at in range(size // 32 + 1))[:size]


async def blob_of(store: Store, data: bytes) -> Blob:
    writer = store.blobs.writer()
    await writer.write(data)
    return await writer.commit()


async def used(store: Store, owner: str) -> int:
    async with store.database.read() as connection:
        return await quota.used(connection, owner)


async def refusals(work: list["asyncio.Task[object]"]) -> list[type[BaseException]]:
    """Return the classes of the errors that some tasks ended with."""
    done = await asyncio.gather(*work, return_exceptions=True)
    return [type(each) for each in done if isinstance(each, BaseException)]


class OneStore:
    """To be inherited."""

    @pytest.fixture
    async def store(self, place: Place) -> AsyncIterator[Store]:
        store = place.store()
        await store.open()
        yield store
        await store.close()

    async def upload(self, store: Store, size: int) -> StoredUpload:
        return await store.uploads.create("a", "batch", "big.jsonl", size, None, ROOM)

    async def part(self, store: Store, upload: StoredUpload, data: bytes) -> str:
        blob = await blob_of(store, data)
        return (await store.uploads.add_part("a", upload.id, blob, ROOM)).id
