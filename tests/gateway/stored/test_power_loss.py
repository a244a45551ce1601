"""A power failure at any moment: files are whole or absent, and those that were told are there.

The disk is played: of all that was written it keeps what was flushed, contents and names alike.
"""

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from gateway.stored import durable
from gateway.stored.durable import flush_names, make_folder
from gateway.stored.files import StoredFile
from gateway.stored.store import Store
from tests.support.stored_files import ROOM, SetClock, content, put

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the path of an open file is in /proc"),
]
DATABASE = ("forge.db", "forge.db-wal")
"""Files that SQLite flushes itself, as its setting says."""


class LosingDisk:
    """Notes what is flushed below ``root``, and gives what a power failure leaves of it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._flush = os.fsync
        self.moments: list[Path] = []
        """States that a failure right before and after each flush leaves."""
        monkeypatch.setattr(durable, "_FULL", None)
        monkeypatch.setattr(os, "fsync", self.flushed)
        self._note(root)

    def _note(self, folder: Path) -> None:
        self._names[folder.stat().st_ino] = {each.name: each.inode() for each in os.scandir(folder)}

    def flushed(self, file: int) -> None:
        """Take the place of ``os.fsync``."""
        self.fail()
        self._flush(file)
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = {each.name: each.inode() for each in os.scandir(file)}
        else:
            size = found.st_size
            with open(f"/proc/self/fd/{file}", "rb") as again:
                self._contents[found.st_ino] = again.read(size)
        self.fail()

    def fail(self) -> Path:
        """Return a folder with what is left now."""
        left = self.root.with_name(f"left-{len(self.moments)}")
        left.mkdir()
        self._leave(self.root.stat().st_ino, self.root, left)
        self.moments.append(left)
        return left

    def _leave(self, folder: int, now: Path, left: Path) -> None:
        for name, inode in self._names.get(folder, {}).items():
            if name in DATABASE:
                continue
            if inode in self._names or (now / name).is_dir():
                (left / name).mkdir()
                self._leave(inode, now / name, left / name)
            else:
                (left / name).write_bytes(self._contents.get(inode, b""))
        for name in DATABASE:
            if (now / name).exists():
                shutil.copy(now / name, left / name)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LosingDisk:
    (tmp_path / "disk").mkdir()
    return LosingDisk(tmp_path / "disk", monkeypatch)


async def found(left: Path) -> dict[str, bytes]:
    """Start a server on what is left, and read all files."""
    store = Store(left / "new" / "data", None, ROOM, SetClock())
    await store.open()
    files, _ = await store.files.list("a")
    contents = {file.id: await content(store, file.blob) for file in files}
    await store.close()
    return contents


async def test_a_file_is_whole_or_absent_and_there_once_it_is_told(disk: LosingDisk) -> None:
    store = Store(disk.root / "new" / "data", None, ROOM, SetClock())
    await store.open()
    sizes = (0, 5, 700_000)
    made: dict[str, bytes] = {}
    for size in sizes:
        data = os.urandom(size)
        file: StoredFile = await put(store, "a", data)
        made[file.id] = data
        assert await found(disk.fail()) == made
    upload = await store.uploads.create("a", "batch", "in.jsonl", 6, None, ROOM)
    parts = []
    for data in (b"abc", b"def"):
        incoming = await store.files.receive("a", ROOM)
        await incoming.write(data)
        blob = await incoming.commit()
        parts.append((await store.uploads.add_part("a", upload.id, blob, ROOM)).id)
    _, file = await store.uploads.complete("a", upload.id, parts)
    made[file.id] = b"abcdef"
    assert await found(disk.fail()) == made
    gone = next(iter(made))
    await store.files.delete("a", gone)
    assert await found(disk.fail()) == {id_: made[id_] for id_ in made if id_ != gone}
    await store.close()
    assert len(disk.moments) > 20
    for left in disk.moments:
        if (left / "new" / "data").exists():
            assert (await found(left)).items() <= made.items()


async def test_a_file_whose_name_was_not_flushed_is_lost(disk: LosingDisk) -> None:
    """The played disk is no better than a real one."""
    path = disk.root / "a"
    path.write_bytes(b"x")
    assert not (disk.fail() / "a").exists()
    flush_names(disk.root)
    assert (disk.fail() / "a").read_bytes() == b""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    assert (disk.fail() / "a").read_bytes() == b"x"


def test_folders_that_are_made_are_the_users_and_flushed(disk: LosingDisk) -> None:
    make_folder(disk.root / "a" / "b" / "c")
    assert (disk.fail() / "a" / "b" / "c").is_dir()
    assert stat.S_IMODE((disk.root / "a" / "b" / "c").stat().st_mode) == 0o700
    make_folder(disk.root / "a" / "b" / "c")
