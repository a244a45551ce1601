"""Laws of files: found by their owners alone, until they are deleted or their time is over."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from gateway.core.errors import NotFound
from gateway.stored import files as module
from gateway.stored.blobs import BlobMissing
from gateway.stored.files import StoredFile
from gateway.stored.store import Store
from gateway.stored.tables import files
from tests.support.store_laws.one_store import OneStore, Place, blob_of
from tests.support.stored_files import content, put


class FileLaws(OneStore):
    """To be inherited."""

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

    async def test_a_long_list_gives_way_to_others(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its rows are read in parts, and between two of them the event loop has other turns."""
        number, read, turn, made = 5 * module.PART + 1, set[int](), 0, module._file
        row = {"owner": "a", "purpose": "batch", "filename": b"a", "bytes": 1, "created_at": 1}
        rows = [{**row, "id": f"file-{at}", "blob": f"blob {at}"} for at in range(number)]
        async with store.database.begin() as run:
            await run.execute(insert(files), rows)

        async def others() -> None:
            nonlocal turn
            while True:
                turn += 1
                await asyncio.sleep(0)

        def noted(row: Any) -> StoredFile:
            read.add(turn)
            return made(row)

        monkeypatch.setattr(module, "_file", noted)
        beside = asyncio.create_task(others())
        found, more = await store.files.list("a", limit=10_000)
        beside.cancel()
        assert [each.id for each in found] == [each["id"] for each in reversed(rows)]
        assert not more
        assert len(read) >= 5

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
        short = await put(store, "a", b"short", age=10)
        long = await put(store, "a", b"long", age=20)
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
        place.clock.now += 2
        await store.files.sweep()
        async with store.database.read() as connection:
            count = select(func.count()).select_from(files)
            assert (await connection.execute(count)).scalar_one() == 0

    async def test_names_are_kept_as_they_are(self, store: Store) -> None:
        blob = await blob_of(store, b"x")
        name = "ünï \U0001f600 '\";--.jsonl"
        file = await store.files.keep("a", blob, "batch", name)
        assert (await store.files.get("a", file.id)).filename == name
