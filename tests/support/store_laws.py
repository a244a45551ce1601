"""Laws of every store: of files in a folder beside SQLite, and of rows in PostgreSQL alone.

A subclass has a fixture ``place``, which makes stores of one place that is empty at first.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest
from sqlalchemy import func, select, update

from gateway.core.errors import (
    BadRequest,
    FileTooLarge,
    NotFound,
    QueueFull,
    QuotaExceeded,
    UploadEnded,
)
from gateway.stored import quota
from gateway.stored.blobs import Blob, BlobMissing
from gateway.stored.files import StoredFile
from gateway.stored.store import Store
from gateway.stored.tables import batches, blob_chunks, files, gateways
from gateway.stored.uploads import AGE_S, KEPT_S, StoredUpload
from tests.support.stored_files import ROOM, SetClock, content, put

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


class StoreLaws:
    """To be inherited."""

    @pytest.fixture
    async def store(self, place: Place) -> AsyncIterator[Store]:
        store = place.store()
        await store.open()
        yield store
        await store.close()

    # ------------------------------------------------------------------ blobs

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
        part = await self._part(first, await self._upload(first, 4), b"part")
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

    # ------------------------------------------------------------------ files

    async def test_others_do_not_find_it(self, store: Store) -> None:
        file = await put(store, "a", b"secret")
        for owner in ("b", "", "A", "a "):
            with pytest.raises(NotFound):
                await store.files.get(owner, file.id)
            with pytest.raises(NotFound):
                await store.files.delete(owner, file.id)
            assert await store.files.list(owner) == ([], False)
            with pytest.raises(NotFound):
                await store.files.list(owner, after=file.id)
        assert await store.files.get("a", file.id) == file

    @pytest.mark.parametrize("id_", ["", "a\x00b", "\ud800", "x" * 100_000, "file-%", "é", "'"])
    async def test_what_is_no_id_is_not_found(self, store: Store, id_: str) -> None:
        for ask in (store.files.get, store.files.delete, store.uploads.get, store.uploads.cancel):
            with pytest.raises(NotFound) as caught:
                await ask("a", id_)
            assert len(caught.value.message) < 200

    async def test_pages_are_slices(self, store: Store) -> None:
        made = []
        for at in range(7):
            its = "batch" if at % 2 else "user_data"
            made.append(await put(store, "a", b"x" * at, purpose=its))
            await put(store, "b", b"another's")
        for purpose in (None, "batch", "user_data", "vision"):
            whole = [each for each in made if purpose in (None, each.purpose)]
            for order in ("asc", "desc"):
                wanted = whole if order == "asc" else whole[::-1]
                for limit in (1, 2, 100):
                    found = list[StoredFile]()
                    after: str | None = None
                    more = True
                    while more:
                        page, more = await store.files.list(
                            "a", purpose, after, limit, "asc" if order == "asc" else "desc"
                        )
                        assert len(page) == limit or not more
                        found += page
                        after = page[-1].id if page else None
                    assert found == wanted

    async def test_deleted_it_is_gone(self, store: Store) -> None:
        file = await put(store, "a", b"hello")
        await store.files.delete("a", file.id)
        with pytest.raises(NotFound):
            await store.files.get("a", file.id)
        with pytest.raises(BlobMissing):
            await content(store, file.blob)
        with pytest.raises(NotFound):
            await store.files.delete("a", file.id)

    async def test_it_ends_with_its_time(self, place: Place, store: Store) -> None:
        now = int(place.clock.now)
        short = await put(store, "a", b"short", expires_at=now + 10)
        long = await put(store, "a", b"long", expires_at=now + 20)
        ever = await put(store, "a", b"ever")
        place.clock.now += 9.5
        await store.sweep()
        assert await store.files.get("a", short.id) == short
        place.clock.now += 0.5
        with pytest.raises(NotFound):
            await store.files.get("a", short.id)
        assert await store.files.list("a") == ([ever, long], False)
        await store.sweep()
        with pytest.raises(BlobMissing):
            await content(store, short.blob)
        assert await content(store, long.blob) == b"long"
        place.clock.now += 10**6
        await store.sweep()
        assert await store.files.list("a") == ([ever], False)
        assert await content(store, ever.blob) == b"ever"

    async def test_a_sweep_takes_as_many_as_there_are(self, place: Place, store: Store) -> None:
        blob = await blob_of(store, b"one for all")
        async with store.database.begin() as connection:
            for _ in range(1203):
                await store.files.insert(connection, "a", blob, "batch", "a", 1)
        await store.files.sweep()
        async with store.database.read() as connection:
            count = select(func.count()).select_from(files)
            assert (await connection.execute(count)).scalar_one() == 0

    async def test_names_are_kept_as_they_are(self, store: Store) -> None:
        blob = await blob_of(store, b"x")
        name = "ünï \U0001f600 '\";--.jsonl"
        file = await store.files.keep("a", blob, "batch", name)
        assert (await store.files.get("a", file.id)).filename == name

    # ------------------------------------------------------------------ quotas

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
        upload = await self._upload(store, 500)
        await self._part(store, upload, bytes(300))
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

    # ------------------------------------------------------------------ uploads

    async def _upload(self, store: Store, size: int) -> StoredUpload:
        return await store.uploads.create("a", "batch", "big.jsonl", size, None, ROOM)

    async def _part(self, store: Store, upload: StoredUpload, data: bytes) -> str:
        blob = await blob_of(store, data)
        return (await store.uploads.add_part("a", upload.id, blob, ROOM)).id

    async def test_parts_make_a_file_in_the_order_they_are_named(self, store: Store) -> None:
        datas = [pattern(MIB + 7), b"", b"middle", pattern(2 * MIB)]
        whole = b"".join(datas)
        upload = await self._upload(store, len(whole))
        ids = [await self._part(store, upload, data) for data in reversed(datas)][::-1]
        await self._part(store, upload, b"sent twice")
        md5 = hashlib.md5(whole).hexdigest()
        done, file = await store.uploads.complete("a", upload.id, ids, md5.upper())
        assert (done.status, done.file) == ("completed", file.id)
        assert (file.bytes, file.filename, file.purpose) == (len(whole), "big.jsonl", "batch")
        assert await content(store, file.blob) == whole
        assert await used(store, "a") == quota.LEAST + len(whole)

    async def test_the_file_lives_from_its_completion_on(self, place: Place, store: Store) -> None:
        upload = await store.uploads.create("a", "batch", "a", 0, 5000, ROOM)
        place.clock.now += 100
        _, file = await store.uploads.complete("a", upload.id, [])
        assert file.expires_at == int(place.clock.now) + 5000

    async def test_what_was_not_announced_is_refused(self, store: Store) -> None:
        upload = await self._upload(store, 5)
        one, two = [await self._part(store, upload, data) for data in (b"hello", b"")]
        other = await self._part(store, await self._upload(store, 5), b"other")
        wrong: list[tuple[list[str], str | None, str]] = [
            ([], None, "part_ids"),
            ([one, one], None, "part_ids.1"),
            ([other], None, "part_ids.0"),
            (["a\x00"], None, "part_ids.0"),
            ([one], "0" * 32, "md5"),
        ]
        for ids, md5, param in wrong:
            with pytest.raises(BadRequest) as caught:
                await store.uploads.complete("a", upload.id, ids, md5)
            assert caught.value.param == param
        with pytest.raises(NotFound):
            await store.uploads.complete("b", upload.id, [one])
        _, file = await store.uploads.complete("a", upload.id, [two, one])
        assert await content(store, file.blob) == b"hello"

    async def test_it_is_completed_once(self, store: Store) -> None:
        upload = await self._upload(store, MIB)
        part = await self._part(store, upload, pattern(MIB))
        work = [
            asyncio.create_task(store.uploads.complete("a", upload.id, [part])) for _ in range(4)
        ]
        failed = await refusals([*work])
        assert len(failed) == 3
        assert set(failed) <= {UploadEnded, BadRequest}
        found, _ = await store.files.list("a")
        assert [await content(store, file.blob) for file in found] == [pattern(MIB)]
        assert await used(store, "a") == quota.LEAST + MIB

    async def test_cancelled_it_takes_nothing_more(self, store: Store) -> None:
        upload = await self._upload(store, 5)
        part = await self._part(store, upload, b"hello")
        assert (await store.uploads.cancel("a", upload.id)).status == "cancelled"
        late = await blob_of(store, b"late")
        work: list[Callable[[], object]] = [
            lambda: store.uploads.cancel("a", upload.id),
            lambda: store.uploads.complete("a", upload.id, [part]),
            lambda: store.uploads.add_part("a", upload.id, late, ROOM),
            lambda: store.uploads.pending("a", upload.id),
        ]
        for each in work:
            with pytest.raises(UploadEnded):
                await each()  # type: ignore[misc]
        with pytest.raises(BlobMissing):
            await content(store, late.id)
        assert await used(store, "a") == 0

    async def test_an_upload_has_its_time(self, place: Place, store: Store) -> None:
        upload = await self._upload(store, 5)
        part = await self._part(store, upload, b"hello")
        place.clock.now += AGE_S
        with pytest.raises(UploadEnded, match="expired"):
            await store.uploads.complete("a", upload.id, [part])
        await store.sweep()
        assert (await store.uploads.get("a", upload.id)).status == "expired"
        assert await used(store, "a") == 0
        place.clock.now += KEPT_S
        await store.sweep()
        with pytest.raises(NotFound):
            await store.uploads.get("a", upload.id)

    # ------------------------------------------------------------------ the database

    async def test_an_error_undoes_a_transaction(self, store: Store) -> None:
        async def fail() -> None:
            async with store.database.begin() as connection:
                row = {"id": "g", "started_at": 1, "beat_at": 1}
                await connection.execute(gateways.insert().values(**row))
                raise NotFound("something else")

        with pytest.raises(NotFound):
            await fail()
        async with store.database.read() as connection:
            assert (await connection.execute(select(gateways))).all() == []

    async def test_writers_take_turns(self, store: Store) -> None:
        row = {"id": "g", "started_at": 0, "beat_at": 0}
        async with store.database.begin() as connection:
            await connection.execute(gateways.insert().values(**row))

        async def add() -> None:
            async with store.database.begin() as connection:
                more = update(gateways).values(beat_at=gateways.c.beat_at + 1)
                await connection.execute(more)

        async def look() -> None:
            async with store.database.read() as connection:
                await connection.execute(select(gateways))

        await asyncio.gather(*(each() for _ in range(40) for each in (add, look)))
        async with store.database.read() as connection:
            query = select(gateways.c.beat_at)
            assert (await connection.execute(query)).scalar_one() == 40

    async def test_a_cancelled_one_leaves_the_others_alone(self, store: Store) -> None:
        inside = asyncio.Event()

        async def hang() -> None:
            async with store.database.begin() as connection:
                row = {"id": "g", "started_at": 0, "beat_at": 0}
                await connection.execute(gateways.insert().values(**row))
                inside.set()
                await asyncio.Event().wait()

        for _ in range(12):  # more than there are connections
            task = asyncio.create_task(hang())
            await inside.wait()
            inside.clear()
            task.cancel()
            assert await refusals([task]) == [asyncio.CancelledError]
        await put(store, "a", b"hello")
        async with store.database.read() as connection:
            assert (await connection.execute(select(gateways))).all() == []
            assert (await connection.execute(select(batches))).all() == []
