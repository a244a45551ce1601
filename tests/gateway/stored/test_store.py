"""One folder: made, locked, closed and found again."""

import asyncio
import stat
from pathlib import Path

import pytest

from gateway.core.errors import StoreOff
from gateway.stored.errors import StoreUnusable
from gateway.stored.files import StoredFile
from gateway.stored.store import Store

ROOM = 1 << 20


def make(folder: Path) -> Store:
    return Store(folder, None, ROOM, lambda: 1000.0)


async def put(store: Store, owner: str, content: bytes) -> StoredFile:
    incoming = await store.files.receive(owner, ROOM)
    await incoming.write(content)
    return await store.files.keep(owner, await incoming.commit(), "batch", "a.jsonl", room=ROOM)


async def content(store: Store, file: StoredFile) -> bytes:
    return b"".join([piece async for piece in store.blobs.read(file.blob)])


def test_files_are_there_after_a_restart(tmp_path: Path) -> None:
    async def first() -> StoredFile:
        store = make(tmp_path / "data")
        await store.open()
        kept = await put(store, "a", b"hello")
        await store.close()
        return kept

    async def second(kept: StoredFile) -> None:
        store = make(tmp_path / "data")
        await store.open()
        assert await store.files.list("a") == ([kept], False)
        assert await store.files.list("b") == ([], False)
        assert await content(store, kept) == b"hello"
        await store.close()

    asyncio.run(second(asyncio.run(first())))


def test_all_of_it_is_the_users_alone(tmp_path: Path) -> None:
    async def go() -> None:
        store = make(tmp_path / "data")
        await store.open()
        await put(store, "a", b"hello")
        found = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
        assert {path.name for path in found} >= {"forge.db", "forge.db-wal", "lock", "blobs"}
        modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}
        assert modes == {(True, 0o700), (False, 0o600)}
        await store.close()

    asyncio.run(go())


def test_a_second_server_goes_on_without(tmp_path: Path) -> None:
    async def go() -> None:
        first, second = make(tmp_path), make(tmp_path)
        await first.open()
        await second.open()
        first.check()
        with pytest.raises(StoreOff, match="another server uses the folder"):
            second.check()
        await second.close()
        await put(first, "a", b"hello")
        await first.close()
        third = make(tmp_path)
        await third.open()
        third.check()
        await third.close()

    asyncio.run(go())


@pytest.mark.parametrize("path", ["file", "file/below", "a\x00b", "dangling"])
def test_a_place_that_is_no_folder_is_an_error(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    store = make(tmp_path / path)
    with pytest.raises(StoreUnusable, match=r"^can't use [^\n]*$"):
        asyncio.run(store.open())


def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "forge.db").write_bytes(b"what is this?" * 1000)
    with pytest.raises(StoreUnusable, match="not a database"):
        asyncio.run(make(tmp_path).open())
