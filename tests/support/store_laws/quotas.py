"""Laws of what each key may keep, and send at the same time."""

import asyncio

import pytest

from gateway.core.errors import FileTooLarge, QueueFull, QuotaExceeded
from gateway.stored import quota
from gateway.stored.blobs import BlobMissing
from gateway.stored.store import Store
from tests.support.store_laws.one_store import OneStore, Place, blob_of, refusals, used
from tests.support.stored_files import ROOM, content, put


class QuotaLaws(OneStore):
    """To be inherited."""

    async def test_a_file_has_a_largest_size(self, place: Place) -> None:
        store = place.store(max_file=1000)
        await store.open()
        assert (await put(store, "a", bytes(1000))).bytes == 1000
        with pytest.raises(FileTooLarge):
            await put(store, "a", bytes(1001))
        await store.close()

    async def test_all_that_a_key_keeps_counts(self, place: Place, store: Store) -> None:
        least = quota.LEAST
        file = await put(store, "a", bytes(1000))
        assert await used(store, "a") == least + 1000
        upload = await self.upload(store, 500)
        await self.part(store, upload, bytes(300))
        assert await used(store, "a") == 3 * least + 1300
        assert await used(store, "b") == 0
        await store.uploads.cancel("a", upload.id)
        assert await used(store, "a") == least + 1000
        await store.files.delete("a", file.id)
        assert await used(store, "a") == 0

    async def test_nothing_is_kept_beyond_the_quota(self, store: Store) -> None:
        room = 3 * (quota.LEAST + 1000)
        made = [await put(store, "a", bytes(1000), room=room) for _ in range(3)]
        for size in (0, 1, 10**6):
            with pytest.raises(QuotaExceeded):
                await put(store, "a", bytes(size), room=room)
        with pytest.raises(QuotaExceeded):
            await store.uploads.create("a", "batch", "a", 1, None, room)
        await put(store, "b", bytes(1000), room=room)
        await store.files.delete("a", made[0].id)
        with pytest.raises(QuotaExceeded):
            await put(store, "a", bytes(1001), room=room)
        await put(store, "a", bytes(1000), room=room)

    async def test_many_at_once_do_not_pass_it(self, store: Store) -> None:
        room = 3 * (quota.LEAST + 1000) + 10
        blobs = [await blob_of(store, bytes(1000)) for _ in range(8)]
        work = [
            asyncio.create_task(store.files.keep("a", blob, "batch", "a", None, room))
            for blob in blobs
        ]
        assert await refusals([*work]) == [QuotaExceeded] * 5
        assert await used(store, "a") <= room
        found, _ = await store.files.list("a")
        there = {file.blob for file in found}
        assert len(there) == 3
        for blob in blobs:
            if blob.id not in there:
                with pytest.raises(BlobMissing):
                    await content(store, blob.id)

    async def test_what_is_arriving_counts(self, store: Store) -> None:
        room = quota.LEAST * 2 + 3000
        first = await store.files.receive("a", room)
        await first.write(bytes(2000))
        second = await store.files.receive("a", room)
        with pytest.raises(QuotaExceeded):
            await second.write(bytes(2000))
        await second.abort()
        await first.abort()
        third = await store.files.receive("a", room)
        await third.write(bytes(3000))
        await third.abort()

    async def test_few_arrive_at_the_same_time(self, store: Store) -> None:
        one = [await store.files.receive("a", ROOM) for _ in range(quota.MOST_OF_ONE)]
        with pytest.raises(QueueFull):
            await store.files.receive("a", ROOM)
        most = quota.MOST - quota.MOST_OF_ONE
        others = [await store.files.receive(f"b{at}", ROOM) for at in range(most)]
        with pytest.raises(QueueFull):
            await store.files.receive("c", ROOM)
        for each in (*one, *others):
            await each.abort()
            await each.abort()
        await put(store, "a", b"hello")
