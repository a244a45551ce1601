"""The laws of stores, for SQLite and files in a folder."""

import errno
import os
from pathlib import Path

import pytest

from gateway.core.errors import StorageFull
from gateway.stored.folder_blobs import FolderBlobs
from gateway.stored.store import Store
from tests.support.store_laws import StoreLaws
from tests.support.stored_files import ROOM, SetClock

pytestmark = pytest.mark.anyio


class FolderPlace:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SetClock()

    def store(self, max_file: int = ROOM) -> Store:
        return Store(self.folder, None, max_file, self.clock)


class TestFolder(StoreLaws):
    @pytest.fixture
    def place(self, tmp_path: Path) -> FolderPlace:
        return FolderPlace(tmp_path / "data")


class FullDisk:
    """Writes until there is no room left."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, file: int, data: memoryview) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(file, data[: self.room])
        self.room -= written
        return written


async def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    folder, unfinished = tmp_path / "blobs", tmp_path / "unfinished"
    folder.mkdir()
    unfinished.mkdir()
    disk = FullDisk(3_000_000)
    blobs = FolderBlobs(folder, unfinished, disk)
    kept = blobs.writer()
    await kept.write(bytes(1_000_000))
    await kept.commit()
    writer = blobs.writer()

    async def fill() -> None:
        while True:
            await writer.write(bytes(100_000))

    with pytest.raises(StorageFull, match="is full"):
        await fill()
    await writer.abort()
    assert list(unfinished.iterdir()) == []
    assert [each.stat().st_size for each in folder.iterdir()] == [1_000_000]
    disk.room = 10
    small = blobs.writer()
    await small.write(bytes(11))
    with pytest.raises(StorageFull):
        await small.commit()
    await small.abort()
    assert list(unfinished.iterdir()) == []
    blobs.close()


async def test_other_errors_of_a_disk_are_told_as_they_are(tmp_path: Path) -> None:
    def broken(file: int, data: memoryview) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    blobs = FolderBlobs(tmp_path, tmp_path, broken)
    writer = blobs.writer()
    await writer.write(b"x")
    with pytest.raises(StorageFull, match=r"takes no more \(Input/output error\)"):
        await writer.commit()
    await writer.abort()
    blobs.close()


async def test_what_else_is_in_the_folder_is_left(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    first = place.store()
    await first.open()
    await first.close()
    others = [tmp_path / "blobs" / "README", tmp_path / "mine.txt"]
    for path in others:
        path.write_text("mine")
    second = place.store()
    await second.open()
    await second.close()
    assert all(path.read_text() == "mine" for path in others)
