"""Prefixes on the disk behind the store in memory. The thread's work is done by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.config.config import Config
from tests.workers.kv.mirror import MirrorMemory
from workers.kv import prefix_disk
from workers.kv.kv import KVCache
from workers.kv.prefix_disk import PrefixDisk
from workers.kv.snapshot_files import SUFFIX, SnapshotFiles
from workers.kv.snapshots import SnapshotStore
from workers.planning.geometry import Geometries

CELLS = 4096
MEMORY = 1 << 20
PROMPT = list(range(200))


class Worker:
    """A worker's memory and what it keeps, without a thread."""

    def __init__(self, folder: Path, capacity: int = MEMORY, *, cuts: bool = True) -> None:
        self.files = SnapshotFiles(str(folder), 1 << 22, b"s" * 32, b"model")
        self.disk = PrefixDisk(self.files)
        geometries = Geometries(2, CELLS, "off")
        self.memory = MirrorMemory(geometries.base, cuts=cuts)
        self.store = SnapshotStore(capacity, self.disk)
        self.kv = KVCache(self.memory, geometries, self.store, cuts=cuts)

    def compute(self, tokens: list[int], scope: str = "", mark: int | None = None) -> int:
        """Compute all of a text and keep it; how many of its tokens were there already."""
        resident = self.kv.attach([*tokens, -1], scope)
        known = resident.length
        for end in (mark, len(tokens)):
            if end is not None and end > resident.length:
                self.memory.compute(resident.number, tokens[resident.length : end])
                self.kv.extend(resident, end - resident.length)
                if end == mark:
                    self.kv.mark(resident)
        self.kv.keep(resident)
        self.kv.check()
        return known

    def work(self, count: int = 4) -> None:
        for _ in range(count):
            self.disk._work()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_disk, "SETTLE_S", 0.0)
    monkeypatch.setattr(prefix_disk, "LOOK_S", 0.001)


@pytest.fixture
def worker(folder: Path) -> Iterator[Callable[..., Worker]]:
    made = list[Worker]()

    def make(capacity: int = MEMORY, *, cuts: bool = True) -> Worker:
        made.append(Worker(folder, capacity, cuts=cuts))
        return made[-1]

    yield make
    for each in made:
        each.files.close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix == SUFFIX}


def test_the_next_worker_begins_warm(worker: Callable[..., Worker]) -> None:
    first = worker()
    assert first.compute(PROMPT) == 0
    first.work()
    second = worker()
    assert second.compute([*PROMPT[:150], 7, 7]) == 150
    assert second.compute([*PROMPT, 8], scope="another key") == 0


def test_a_running_worker_sees_what_another_wrote(worker: Callable[..., Worker]) -> None:
    first, second = worker(), worker()
    first.compute(PROMPT)
    first.work()
    second.work(1)
    assert second.compute([*PROMPT, 9]) == 200


def test_marks_come_back_too(worker: Callable[..., Worker]) -> None:
    first = worker(cuts=False)
    first.compute(PROMPT, mark=120)
    first.work()
    assert worker(cuts=False).compute([*PROMPT[:150], 7, 7]) == 120
    assert worker(cuts=False).compute([*PROMPT, 7]) == 200


@pytest.mark.parametrize("capacity", [0, MEMORY])
def test_what_memory_evicted_or_never_held_is_found(
    worker: Callable[..., Worker], capacity: int
) -> None:
    made = worker(capacity)
    made.compute(PROMPT)
    made.work()
    for snapshot in list(made.store):
        made.store.remove(snapshot)
    assert made.compute([*PROMPT, 5]) == 200


def test_the_turns_of_a_chat_are_one_file(folder: Path, worker: Callable[..., Worker]) -> None:
    made = worker()
    made.compute(PROMPT)
    made.work()
    (first,) = names(folder)
    made.compute([*PROMPT, *range(300, 400)])
    made.compute([*PROMPT, *range(300, 450)])
    made.work()
    made.store.longest("", [1], CELLS)  # takes note of what was written
    assert len(names(folder)) == 1
    assert first not in names(folder)
    assert worker().compute([*PROMPT, *range(300, 450), 1]) == 350


def test_short_ones_are_not_worth_a_file(folder: Path, worker: Callable[..., Worker]) -> None:
    made = worker()
    made.compute(PROMPT[:63])
    made.work()
    assert not names(folder)


def test_what_waits_to_be_written_is_bounded(
    folder: Path, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_disk, "MOST_PENDING", 6000)
    made = worker()
    for n in range(5):
        made.compute([n, *PROMPT])
    assert made.disk._pending_bytes <= 6000
    made.work(8)
    assert len(names(folder)) == 2
    assert made.disk._pending_bytes == 0


def test_a_file_that_vanished_costs_only_the_time(
    folder: Path, worker: Callable[..., Worker]
) -> None:
    first = worker()
    first.compute(PROMPT)
    first.work()
    second = worker()
    (name,) = names(folder)
    (folder / name).unlink()
    assert second.compute([*PROMPT, 1]) == 0
    assert second.compute([*PROMPT, 2]) == 200


def test_a_forged_file_is_computed_anew(folder: Path, worker: Callable[..., Worker]) -> None:
    first = worker()
    first.compute(PROMPT)
    first.work()
    second = worker()
    (name,) = names(folder)
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    assert second.compute([*PROMPT, 1]) == 0
    assert not names(folder)


def test_one_that_llama_cpp_refuses_is_deleted(folder: Path, worker: Callable[..., Worker]) -> None:
    first = worker()
    first.compute(PROMPT)
    first.work()
    second = worker()
    second.memory.failing = True
    assert second.kv.attach([*PROMPT, 1]).length == 0
    assert not names(folder)


def test_a_large_file_is_read_while_others_go_on(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker()
    first.compute(PROMPT)
    first.work()
    monkeypatch.setattr(prefix_disk, "AT_ONCE", 100)
    second = worker()
    tokens = [*PROMPT, 1]
    assert second.kv.coming(tokens, "", []) == 0, "no other would go on meanwhile"
    second.kv.attach([9, 9, 9])
    monkeypatch.setattr(second.files, "read", lambda name: pytest.fail("read here"))
    assert second.kv.coming(tokens, "", []) == 200
    assert second.kv.coming(tokens, "", []) == 200, "still being read"
    monkeypatch.undo()
    second.work(1)
    assert second.kv.coming(tokens, "", []) == 0, "it is in memory"
    assert second.kv.attach(tokens).length == 200


def test_a_large_file_that_is_gone_is_not_waited_for(
    folder: Path, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker()
    first.compute(PROMPT)
    first.work()
    monkeypatch.setattr(prefix_disk, "AT_ONCE", 100)
    second = worker()
    second.kv.attach([9, 9, 9])
    (name,) = names(folder)
    (folder / name).unlink()
    assert second.kv.coming([*PROMPT, 1], "", []) == 200
    second.work(1)
    assert second.kv.coming([*PROMPT, 1], "", []) == 0
    assert second.kv.attach([*PROMPT, 1]).length == 0


def test_a_worker_without_a_usable_folder_or_secret_serves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, secret = tmp_path / "prefixes", tmp_path / "secret"
    spec = Config().worker_spec()
    assert prefix_disk.opened(spec) is None
    assert not caplog.records, "none was wanted"
    spec = msgspec.structs.replace(
        spec, disk_bytes=MEMORY, disk_folder=str(folder), disk_secret=str(secret)
    )
    assert prefix_disk.opened(spec) is None
    secret.write_bytes(b"s" * 32)
    secret.chmod(0o644)
    folder.mkdir(mode=0o700)
    assert prefix_disk.opened(spec) is None
    secret.chmod(0o600)
    folder.chmod(0o755)
    assert prefix_disk.opened(spec) is None
    assert len(caplog.records) == 3
    folder.chmod(0o700)
    assert prefix_disk.opened(spec) is not None
