"""Laws of files that come in parts."""

import asyncio
import hashlib
from collections.abc import Callable

import pytest

from gateway.core.errors import BadRequest, NotFound, UploadEnded
from gateway.stored import quota, uploads
from gateway.stored.blobs import BlobMissing, BlobWriter
from gateway.stored.store import Store
from gateway.stored.uploads import AGE_S, KEPT_S
from tests.support.store_laws.one_store import (
    MIB,
    OneStore,
    Place,
    blob_of,
    pattern,
    refusals,
    used,
)
from tests.support.stored_files import ROOM, content


class UploadLaws(OneStore):
    """To be inherited."""

    async def test_parts_make_a_file_in_the_order_they_are_named(self, store: Store) -> None:
        datas = [pattern(MIB + 7), b"", b"middle", pattern(2 * MIB)]
        whole = b"".join(datas)
        upload = await self.upload(store, len(whole))
        ids = [await self.part(store, upload, data) for data in reversed(datas)][::-1]
        await self.part(store, upload, b"sent twice")
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
        upload = await self.upload(store, 5)
        one, two = [await self.part(store, upload, data) for data in (b"hello", b"")]
        other = await self.part(store, await self.upload(store, 5), b"other")
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
        upload = await self.upload(store, MIB)
        part = await self.part(store, upload, pattern(MIB))
        work = [
            asyncio.create_task(store.uploads.complete("a", upload.id, [part])) for _ in range(4)
        ]
        failed = await refusals([*work])
        assert len(failed) == 3
        assert set(failed) <= {UploadEnded, BadRequest}
        found, _ = await store.files.list("a")
        assert [await content(store, file.blob) for file in found] == [pattern(MIB)]
        assert await used(store, "a") == quota.LEAST + MIB

    async def test_its_parts_are_joined_once_at_a_time(self, store: Store) -> None:
        """Each time takes their bytes once more, which no quota counts."""
        upload = await self.upload(store, MIB)
        part = await self.part(store, upload, pattern(MIB))
        made = 0
        writer = store.blobs.writer

        def counted() -> BlobWriter:
            nonlocal made
            made += 1
            return writer()

        store.blobs.writer = counted  # type: ignore[method-assign]
        work = [
            asyncio.create_task(store.uploads.complete("a", upload.id, [part])) for _ in range(4)
        ]
        assert len(await refusals([*work])) == 3
        assert made == 1
        wrong = await self.upload(store, 5)
        for _ in range(2):  # one that failed may be tried again
            with pytest.raises(BadRequest):
                await store.uploads.complete("a", wrong.id, [])

    async def test_the_oldest_that_ended_are_forgotten(
        self, place: Place, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(uploads, "MOST_KEPT", 2)
        made = []
        for _ in range(4):
            made.append((await self.upload(store, 5)).id)
            place.clock.now += 1
        for id_ in made[:3]:
            await store.uploads.cancel("a", id_)
        await store.sweep()
        with pytest.raises(NotFound):
            await store.uploads.get("a", made[0])
        statuses = [(await store.uploads.get("a", id_)).status for id_ in made[1:]]
        assert statuses == ["cancelled", "cancelled", "pending"]

    async def test_cancelled_it_takes_nothing_more(self, store: Store) -> None:
        upload = await self.upload(store, 5)
        part = await self.part(store, upload, b"hello")
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
        upload = await self.upload(store, 5)
        part = await self.part(store, upload, b"hello")
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
