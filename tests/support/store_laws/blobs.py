"""Laws of blobs: whole or absent."""

import asyncio

import pytest
from sqlalchemy import func, select

from gateway.stored.blobs import BlobMissing
from gateway.stored.store import Store
from gateway.stored.tables import blob_chunks
from tests.support.store_laws.one_store import DAY, MIB, SIZES, OneStore, Place, blob_of, pattern
from tests.support.stored_files import content, put


class BlobLaws(OneStore):
    """To be inherited."""

    @pytest.mark.parametrize("size", SIZES)
    async def test_what_is_written_is_read(self, store: Store, size: int) -> None:
        data = pattern(size)
        file = await put(store, "a", data)
        assert file.bytes == size
        assert await content(store, file.blob) == data
        for offset, length in [(0, 0), (0, 7), (MIB - 3, 6), (size, 5), (size - 1, 99), (5, None)]:
            if offset >= 0:
                end = None if length is None else offset + length
                assert await content(store, file.blob, offset, length) == data[offset:end]

    async def test_what_is_aborted_was_never_there(self, place: Place, store: Store) -> None:
        for size in (0, 10, 2 * MIB + 1):
            writer = store.blobs.writer()
            await writer.write(bytes(size))
            await writer.abort()
            await writer.abort()
        place.clock.now += 3 * DAY
        assert not await store.blobs.ids()
        async with store.database.read() as connection:
            chunks = select(func.count()).select_from(blob_chunks)
            assert (await connection.execute(chunks)).scalar_one() == 0

    async def test_abort_does_not_take_back_what_is_committed(self, store: Store) -> None:
        writer = store.blobs.writer()
        await writer.write(b"hello")
        blob = await writer.commit()
        await writer.abort()
        assert await content(store, blob.id) == b"hello"

    async def test_many_are_written_at_once(self, store: Store) -> None:
        datas = [pattern(MIB + at) for at in range(8)]
        found = await asyncio.gather(*(blob_of(store, data) for data in datas))
        assert [await content(store, blob.id) for blob in found] == datas

    async def test_a_blob_without_a_row_is_swept(self, place: Place) -> None:
        first = place.store()
        await first.open()
        kept, lost = await put(first, "a", b"kept"), await blob_of(first, b"lost")
        part = await self.part(first, await self.upload(first, 4), b"part")
        await first.close()
        place.clock.now += 0.5 * DAY
        second = place.store()
        await second.open()
        await second.close()
        place.clock.now += DAY  # other gateways may have been about to use what is younger
        third = place.store()
        await third.open()
        assert await content(third, kept.blob) == b"kept"
        with pytest.raises(BlobMissing):
            await content(third, lost.id)
        assert part
        await third.close()

    async def test_what_dead_writers_left_is_swept(self, place: Place) -> None:
        first = place.store()
        await first.open()
        await first.blobs.writer().write(bytes(2 * MIB))
        await first.close()
        place.clock.now += 3 * DAY
        second = place.store()
        await second.open()
        assert not await second.blobs.ids()
        async with second.database.read() as connection:
            chunks = select(func.count()).select_from(blob_chunks)
            assert (await connection.execute(chunks)).scalar_one() == 0
        await second.close()
