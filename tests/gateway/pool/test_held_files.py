"""Files that are held open, and what becomes of their names."""

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from gateway.pool import FileState, held_files
from gateway.pool.entry import Inherited, paths_of
from gateway.pool.held_files import HeldFiles

OLD, NEW = b"old" * 100_000, b"new" * 100_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(OLD)
    return path


@pytest.fixture
def held(file: Path) -> Iterator[HeldFiles]:
    made = HeldFiles()
    asyncio.run(made.open(str(file)))
    yield made
    made.close()


def state(held: HeldFiles) -> FileState:
    asyncio.run(held.look())
    return held.state


def replace(file: Path, data: bytes) -> None:
    other = file.with_name("other")
    other.write_bytes(data)
    other.replace(file)


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(NEW)


def overwrite_one_byte_at_its_end(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(-1, os.SEEK_END)
        opened.write(b"!")


def become_a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda file: None, "same"),
        (Path.touch, "same"),
        (lambda file: replace(file, OLD), "same"),
        (lambda file: replace(file, NEW), "replaced"),
        (Path.unlink, "removed"),
        (become_a_fifo, "removed"),
        (overwrite, "overwritten"),
        (overwrite_one_byte_at_its_end, "overwritten"),
        (lambda file: os.truncate(file, 7), "overwritten"),
        (lambda file: os.truncate(file, 0), "overwritten"),
    ],
)
def test_states(
    file: Path,
    held: HeldFiles,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
    expected: FileState,
) -> None:
    """Each is told once, and only what was written into the file itself stops workers."""
    caplog.set_level(logging.INFO)
    change(file)
    os.utime(held.inherited()[0].descriptor, ns=(1, 1))  # as a coarse clock might not tell
    assert state(held) == state(held) == expected
    lines = [record.getMessage() for record in caplog.records]
    assert [str(file) in line for line in lines] == [True] * (expected != "same")
    assert (held.refusal is not None) == (expected == "overwritten")
    if expected != "overwritten":
        (path,) = paths_of(held.inherited())
        assert Path(path).read_bytes() == OLD


def test_a_file_that_comes_back(
    file: Path, held: HeldFiles, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = file.rename(file.with_name("kept"))
    assert state(held) == "removed"
    kept.rename(file)
    assert state(held) == "same"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_any_part_of_a_split_model(tmp_path: Path) -> None:
    files = [tmp_path / f"big-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    for file in files:
        file.write_bytes(OLD)
    held = HeldFiles()
    asyncio.run(held.open(str(files[0])))
    replace(files[2], NEW)
    assert state(held) == "replaced"
    overwrite(files[1])
    assert state(held) == "overwritten"
    held.close()


@pytest.mark.parametrize("missing", ["not there", "a folder", "a FIFO", "a part"])
def test_what_can_not_be_held_is_left_to_the_worker(tmp_path: Path, missing: str) -> None:
    path = tmp_path / ("m-00001-of-00002.gguf" if missing == "a part" else "m.gguf")
    if missing == "a folder":
        path.mkdir()
    elif missing == "a FIFO":
        os.mkfifo(path)
    elif missing == "a part":
        path.write_bytes(OLD)
    before = set(os.listdir("/dev/fd"))
    held = HeldFiles()
    asyncio.run(held.open(str(path)))
    assert set(os.listdir("/dev/fd")) == before
    assert held.inherited() == []
    assert state(held) == "same"


def test_without_descriptors_in_the_file_system(
    file: Path, held: HeldFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There only the same file can be read again."""
    monkeypatch.setattr(held_files, "DESCRIPTORS", Path("/nowhere"))
    assert held.inherited() == []
    assert held.refusal is None
    replace(file, NEW)
    assert state(held) == "replaced"
    assert held.refusal is not None
    assert "was replaced" in held.refusal


def _read(inherited: list[Inherited], found: "SimpleQueue[bytes]") -> None:
    found.put(b"".join(Path(path).read_bytes() for path in paths_of(inherited)))


def test_a_spawned_process_reads_what_is_held(file: Path, held: HeldFiles) -> None:
    replace(file, NEW)
    spawn = multiprocessing.get_context("spawn")
    found = spawn.SimpleQueue()
    process = spawn.Process(target=_read, args=(held.inherited(), found))
    process.start()
    assert found.get() == OLD
    process.join()
