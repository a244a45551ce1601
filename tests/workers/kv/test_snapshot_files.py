"""Snapshots in real files, with several processes, sudden deaths and hostile files."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.kv.mirror import state_of, tokens_of
from workers.kv import snapshot_files
from workers.kv.snapshot_files import LOCK, SUFFIX, UNFINISHED, SnapshotFiles
from workers.kv.snapshots import Mark, PrefixSnapshot

SECRET, BINDING = b"s" * 32, b"model-1"
CAPACITY = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "prefixes"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def files(folder: Path) -> Iterator[SnapshotFiles]:
    made = opened(folder)
    yield made
    made.close()


def opened(
    folder: Path, capacity: int = CAPACITY, secret: bytes = SECRET, binding: bytes = BINDING
) -> SnapshotFiles:
    return SnapshotFiles(str(folder), capacity, secret, binding)


def snapshot(*tokens: int, scope: str = "", marks: tuple[int, ...] | None = None) -> PrefixSnapshot:
    of = None if marks is None else [Mark(end, state_of(tokens[:end])) for end in marks]
    return PrefixSnapshot(scope, tokens, state_of(tokens, streams=3), of)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == SUFFIX}


def written(files: SnapshotFiles, *tokens: int) -> str:
    name = files.write(snapshot(*tokens))
    assert name is not None
    return name


# ---------------------------------------------------------------------- what is kept


def test_a_snapshot_comes_back_with_its_marks(folder: Path, files: SnapshotFiles) -> None:
    name = files.write(snapshot(1, 2, 3, 4, scope="key", marks=(2, 3)))
    assert name is not None
    other = opened(folder)  # after a restart
    changes = other.look()
    assert changes is not None
    (found,), gone = changes
    assert (found.name, found.snapshot.scope, found.snapshot.tokens) == (name, "key", [1, 2, 3, 4])
    assert found.snapshot.usable(3) == 3
    assert found.snapshot.state.size == 0
    assert not gone
    read = other.read(name)
    assert read is not None
    assert read.marks is not None
    assert tokens_of(read.state) == [1, 2, 3, 4]
    assert (read.state.parts, read.state.end, read.state.streams) == ((), 0, 3)
    assert [(mark.end, tokens_of(mark.state)) for mark in read.marks] == [
        (2, [1, 2]),
        (3, [1, 2, 3]),
    ]
    other.close()


def test_one_that_can_be_cut_anywhere_stays_so(files: SnapshotFiles) -> None:
    read = files.read(written(files, 1, 2, 3))
    assert read is not None
    assert read.marks is None
    assert read.usable(2) == 2


def test_files_are_this_users_alone(folder: Path, files: SnapshotFiles) -> None:
    before = os.umask(0)
    try:
        written(files, 1, 2, 3)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_scopes_do_not_meet_and_names_need_the_secret(folder: Path, files: SnapshotFiles) -> None:
    found = {files.name("", [1, 2]), files.name("a", [1, 2]), files.name("", [1, 3])}
    other = opened(folder, secret=b"t" * 32)
    assert len(found | {other.name("", [1, 2])}) == 4
    other.close()


def test_a_look_tells_what_others_did(folder: Path, files: SnapshotFiles) -> None:
    other = opened(folder)
    assert other.look() is None or not names(folder)
    first = written(files, 1, 2)
    changes = other.look()
    assert changes is not None
    assert [each.name for each in changes[0]] == [first]
    files.remove(first)
    second = written(files, 1, 3)
    changes = other.look()
    assert changes is not None
    assert ([each.name for each in changes[0]], changes[1]) == ([second], [first])
    other.close()


def test_a_folder_at_rest_is_not_read_again(
    folder: Path, files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(files, 1, 2)
    os.utime(folder, (1, 1))
    assert files.look() is not None
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("read again"))
    assert files.look() is None


def test_the_bound_is_kept_and_the_least_recently_used_goes(folder: Path) -> None:
    probe = opened(folder)
    name = written(probe, 0, *range(100))
    size = (folder / name).stat().st_size
    probe.remove(name)
    probe.close()
    files = opened(folder, capacity=3 * size)
    kept = [written(files, n, *range(100)) for n in range(3)]
    for at, name in enumerate(kept):
        os.utime(folder / name, (at, at))
    assert files.read(kept[0]) is not None, "a use"
    fourth = written(files, 3, *range(100))
    assert names(folder) == {kept[0], kept[2], fourth}
    assert files.write(snapshot(*range(2000))) is None, "larger than all the room"
    assert names(folder) == {kept[0], kept[2], fourth}
    files.close()


def test_the_count_of_files_is_bounded(
    folder: Path, files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_files, "MOST_FILES", 3)
    for n in range(6):
        written(files, n)
        assert len(names(folder)) <= 3


# ---------------------------------------------------------------------- other processes

WRITER = """
import sys
from tests.workers.kv.test_snapshot_files import opened, snapshot
from pathlib import Path
files = opened(Path(sys.argv[1]), capacity=int(sys.argv[2]))
print("ready", flush=True)
for n in range(int(sys.argv[4])):
    files.write(snapshot(int(sys.argv[3]), n % 50, *range(n % 7 * 200)))
    files.look()
"""


def writer(folder: Path, capacity: int, number: int, count: int) -> subprocess.Popen[bytes]:
    arguments = [str(folder), str(capacity), str(number), str(count)]
    command = [sys.executable, "-c", WRITER, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as told:
        assert told.readline() == b"ready\n"
    return process


def test_several_processes_write_and_read_at_once(folder: Path) -> None:
    capacity = 40_000
    files = opened(folder, capacity=capacity)
    writers = [writer(folder, capacity, number, 150) for number in range(3)]
    read = 0
    while any(process.poll() is None for process in writers):
        for name in names(folder):
            found = files.read(name)
            if found is not None:
                assert tokens_of(found.state) == found.tokens
                read += 1
        sizes = list[int]()
        for path in folder.iterdir():
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                break
        files.look()
    assert [process.returncode for process in writers] == [0, 0, 0]
    assert read > 0
    assert 0 < sum(path.stat().st_size for path in folder.iterdir()) <= capacity
    files.look()
    assert {name for name in names(folder) if files.read(name) is None} == set()
    files.close()


def test_a_writer_that_is_killed_leaves_nothing_that_counts(folder: Path) -> None:
    for _ in range(5):
        process = writer(folder, CAPACITY, 1, 10**9)
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (folder / f"{'0' * 32}{SUFFIX}{UNFINISHED}").write_bytes(b"half")
    files = opened(folder)
    for name in names(folder):
        assert files.read(name) is not None, "whole, for it has its name"
    written(files, 7, 7)
    assert not [path for path in folder.iterdir() if path.name.endswith(UNFINISHED)]
    files.close()


def test_a_writer_that_stands_still_holds_none_up_for_ever(
    folder: Path, files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_files, "PATIENCE_S", 0.05)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert files.write(snapshot(1, 2)) is None
    assert files.write(snapshot(1, 2)) is not None


def test_files_vanish_at_any_time(folder: Path, files: SnapshotFiles) -> None:
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            for path in folder.iterdir():
                path.unlink(missing_ok=True)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for n in range(200):
            try:
                name = files.write(snapshot(n, *range(50)))
            except OSError:
                continue  # the unfinished one was deleted before it got its name
            files.look()
            assert name is None or (found := files.read(name)) is None or found.tokens[0] == n
    finally:
        stop.set()
        thread.join()


# ---------------------------------------------------------------------- hostile files


def test_no_changed_byte_is_ever_taken(folder: Path, files: SnapshotFiles) -> None:
    name = written(files, 1, 2, 3)
    whole = (folder / name).read_bytes()
    for at in range(len(whole)):
        forged = bytearray(whole)
        forged[at] ^= 0x40
        (folder / name).write_bytes(forged)
        assert files.read(name) is None, at
        assert not (folder / name).exists()
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600))
    (folder / name).write_bytes(whole)
    assert files.read(name) is not None


def test_no_file_that_was_cut_or_grew_is_taken(folder: Path, files: SnapshotFiles) -> None:
    name = written(files, 1, 2, 3)
    whole = (folder / name).read_bytes()
    for data in (*(whole[:size] for size in range(len(whole))), whole + b"x"):
        (folder / name).touch(0o600)
        (folder / name).write_bytes(data)
        assert files.read(name) is None
        (folder / name).touch(0o600)
        (folder / name).write_bytes(data)
        fresh = opened(folder)
        assert (fresh.look() or ([], []))[0] == []
        fresh.close()


def test_the_bytes_that_were_checked_are_those_that_are_used(
    folder: Path, files: SnapshotFiles
) -> None:
    name = written(files, 1, 2, 3)
    read = files.read(name)
    size = (folder / name).stat().st_size
    (folder / name).write_bytes(b"\xff" * size)  # in place, after the check
    os.truncate(folder / name, 0)
    assert read is not None
    assert tokens_of(read.state) == [1, 2, 3]


@pytest.mark.parametrize(
    "changed", [{"secret": b"t" * 32}, {"binding": b"model-2"}, {"capacity": 100}]
)
def test_what_another_wrote_is_refused(
    folder: Path, files: SnapshotFiles, changed: dict[str, bytes | int]
) -> None:
    name = written(files, *range(30))
    other = opened(folder, **changed)  # type: ignore[arg-type]
    assert other.look() == ([], [])
    assert other.read(name) is None
    assert not names(folder)
    other.close()


def test_only_own_regular_files_are_opened(folder: Path, files: SnapshotFiles) -> None:
    name = written(files, 1, 2, 3)
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / f"link{SUFFIX}").symlink_to(folder.parent / "elsewhere")
    (folder / f"folder{SUFFIX}").mkdir()
    os.mkfifo(folder / f"pipe{SUFFIX}", 0o600)
    changes = files.look()
    assert changes is None or changes[0] == []
    for each in ("link", "folder", "pipe"):
        assert files.read(each + SUFFIX) is None
    assert (folder.parent / "elsewhere").exists()


def test_a_file_that_others_may_read_or_write_is_refused(
    folder: Path, files: SnapshotFiles
) -> None:
    for mode in (0o640, 0o602, 0o666):
        name = written(files, 1, 2, mode)
        (folder / name).chmod(mode)
        assert files.read(name) is None


def test_a_folder_of_others_is_not_used(folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(PermissionError):
        opened(folder)
    folder.chmod(0o700)
    link = folder.with_name("link")
    link.symlink_to(folder)
    with pytest.raises(OSError, match="link"):
        opened(link)


def test_a_full_disk_leaves_no_rubbish(
    folder: Path, files: SnapshotFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``/dev/full`` stands for the file: every write to it fails as on a full disk."""
    real = os.open

    def full(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        found = real(path, flags, mode, dir_fd=dir_fd)
        if path.endswith(UNFINISHED):
            os.dup2(real("/dev/full", os.O_WRONLY), found)
        return found

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space"):
        files.write(snapshot(1, 2, 3))
    monkeypatch.undo()
    assert {path.name for path in folder.iterdir()} == {LOCK}
    assert files.write(snapshot(1, 2, 3)) is not None
