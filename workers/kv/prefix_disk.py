"""The prefixes in a folder of files, beside the engine: its thread does not wait for writing.

A thread of its own looks what other workers wrote, writes what was kept, and reads what is wanted
while other sequences go on. The engine's thread takes its results when it looks something up, and
is the only one that touches the index: snapshots without their states.

Writing waits for SETTLE_S: a chat's turn may have replaced the one before by then.
"""

import logging
import os
import queue
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from workers.kv.snapshot_files import FoundFile, SnapshotFiles
from workers.kv.snapshots import PrefixSnapshot, SnapshotStore
from workers.protocol import WorkerSpec

log = logging.getLogger("forge.worker")

WORTH = 64
"""Tokens that a snapshot must have to be written, and that one must spare to be read."""
COPIES = 32
"""Tokens that are read and checked in the time in which one is computed, in models that take long;
all of a file are."""
SETTLE_S = 0.2
MOST_PENDING = 256 << 20
"""Bytes that wait to be written; what comes beside them is not."""
LOOK_S = 0.5
"""Between two looks at what other workers did."""
AT_ONCE = 4 << 20
"""A file that is read while other sequences wait: some milliseconds."""
UNBOUNDED = 1 << 62
LEAST_SECRET, MOST_SECRET = 16, 64


def opened(spec: WorkerSpec) -> "PrefixDisk | None":
    """Return the prefixes on the disk; None if none are wanted, or the folder can't be used."""
    if not spec.disk_folder or not spec.disk_bytes:
        return None
    folder = Path(spec.disk_folder)
    try:
        secret = _secret(spec.disk_secret)
        # The name of the folder is of all that states depend on, the model and versions included.
        binding = os.fsencode(folder.name)
        files = SnapshotFiles(spec.disk_folder, spec.disk_bytes, secret, binding)
        return PrefixDisk(files).start()
    except OSError as error:
        log.warning("no prefixes are kept on the disk: %s", error)
        return None


def _secret(path: str) -> bytes:
    """Read what authenticates the files. Raises OSError if others may know it."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(f"{path} is not this user's alone")
        secret = os.read(file, MOST_SECRET)
    finally:
        os.close(file)
    if len(secret) < LEAST_SECRET:
        raise PermissionError(f"{path} is too short")
    return secret


class _Index(SnapshotStore):
    """Finds snapshots that have no states, and tells which of them it dropped."""

    def __init__(self) -> None:
        super().__init__(UNBOUNDED)
        self.dropped: list[PrefixSnapshot] = []

    def remove(self, snapshot: PrefixSnapshot) -> None:
        super().remove(snapshot)
        self.dropped.append(snapshot)


class PrefixDisk:
    """Implement :class:`workers.kv.snapshots.Backing` with :class:`SnapshotFiles`."""

    def __init__(self, files: SnapshotFiles) -> None:
        """The folder belongs to it from now on. What lies there is known when this returns."""
        self._files = files
        # The engine's thread.
        self._index = _Index()
        self._found: dict[str, FoundFile] = {}
        self._names: dict[PrefixSnapshot, str] = {}
        """Of the snapshots in the index."""
        self._reading = set[str]()
        self._arrived: list[PrefixSnapshot] = []
        # Both.
        self._results: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        """To be called in the engine's thread."""
        self._work_there = threading.Condition()
        """Guards what follows."""
        self._reads: list[str] = []
        self._pending: OrderedDict[str, tuple[float, PrefixSnapshot]] = OrderedDict()
        """Snapshots that are to be written, each with the time from which on."""
        self._pending_bytes = 0
        # The thread of its own.
        self._told = False
        self._look()
        self._collect()

    def start(self) -> "PrefixDisk":
        """Begin to read and write."""
        threading.Thread(target=self._serve, name="prefixes", daemon=True).start()
        return self

    # ------------------------------------------------------------------ the engine's thread

    def save(self, snapshot: PrefixSnapshot) -> None:
        """Write it soon, if it is worth it and not too much waits already."""
        if len(snapshot.tokens) < WORTH:
            return
        name = self._files.name(snapshot.scope, snapshot.tokens)
        # Of its own: the store gives up the memory of one that it drops.
        own = PrefixSnapshot(snapshot.scope, snapshot.tokens, snapshot.state, snapshot.marks)
        with self._work_there:
            if name not in self._pending and self._pending_bytes + own.size <= MOST_PENDING:
                self._pending[name] = time.monotonic() + SETTLE_S, own
                self._pending_bytes += own.size
                self._work_there.notify()

    def replaced(self, snapshot: PrefixSnapshot) -> None:
        """Another one holds all of it: it need not be written any more."""
        self._done(self._files.name(snapshot.scope, snapshot.tokens))

    def longest(
        self, scope: str, tokens: Sequence[int], cells: int
    ) -> tuple[PrefixSnapshot | None, int]:
        """Find one like :meth:`SnapshotStore.longest`; it has no states, but can be loaded."""
        self._collect()
        found, count = self._index.longest(scope, tokens, cells)
        if found is None or count < WORTH or count * COPIES < len(found.tokens):
            return None, 0
        return found, count

    def fetch(self, found: PrefixSnapshot, most: int) -> bool:
        """Return whether to wait until it arrives, if it may have ``most`` bytes; reading begins.

        It is not worth waiting for one that is read at once.
        """
        name = self._names.get(found)
        if name is None or not AT_ONCE < self._found[name].size <= most:
            return False
        if name not in self._reading:
            self._reading.add(name)
            with self._work_there:
                self._reads.append(name)
                self._work_there.notify()
        return True

    def arrived(self) -> Iterator[PrefixSnapshot]:
        """Yield what was fetched, once."""
        self._collect()
        while self._arrived:
            yield self._arrived.pop(0)

    def load(self, found: PrefixSnapshot) -> PrefixSnapshot | None:
        """Read it now; None if it is gone."""
        name = self._names.get(found)
        snapshot = self._files.read(name) if name is not None else None
        if name is not None and snapshot is None:
            self._forget(name)
        return snapshot

    def reject(self, snapshot: PrefixSnapshot) -> None:
        """Delete one that llama.cpp does not take: it would fail again."""
        name = self._files.name(snapshot.scope, snapshot.tokens)
        self._done(name)
        self._forget(name)
        self._files.remove(name)

    def _collect(self) -> None:
        while not self._results.empty():
            self._results.get()()

    def _changed(self, found: list[FoundFile], gone: list[str]) -> None:
        for name in gone:
            self._forget(name)
        for each in sorted(found, key=lambda each: len(each.snapshot.tokens)):
            self._learn(each)

    def _learn(self, found: FoundFile) -> None:
        """Take a file into the index. Those that it makes needless are deleted."""
        if found.name in self._found:
            return
        self._found[found.name] = found
        self._names[found.snapshot] = found.name
        self._index.put(found.snapshot)
        while self._index.dropped:
            name = self._names.pop(self._index.dropped.pop())
            del self._found[name]
            self._files.remove(name)

    def _forget(self, name: str) -> None:
        found = self._found.pop(name, None)
        if found is not None:
            del self._names[found.snapshot]
            self._index.remove(found.snapshot)
            self._index.dropped.clear()

    def _came(self, name: str, snapshot: PrefixSnapshot | None) -> None:
        self._reading.discard(name)
        if snapshot is None:
            self._forget(name)
        else:
            self._arrived.append(snapshot)

    # ------------------------------------------------------------------ the thread of its own

    def _serve(self) -> None:
        while True:
            self._work()

    def _work(self) -> None:
        """Do one thing, the most urgent first, or wait for one."""
        with self._work_there:
            name = self._reads.pop(0) if self._reads else None
            due, snapshot = next(iter(self._pending.values()), (0.0, None))
            wait_s = LOOK_S if snapshot is None else min(LOOK_S, due - time.monotonic())
            if name is None and wait_s > 0:
                self._work_there.wait(wait_s)
                snapshot = None
        if name is not None:
            self._read(name)
        elif snapshot is not None:
            self._write(snapshot)
        self._look()

    def _read(self, name: str) -> None:
        snapshot = self._files.read(name)
        self._results.put(lambda: self._came(name, snapshot))

    def _write(self, snapshot: PrefixSnapshot) -> None:
        try:
            self._files.write(snapshot)
        except OSError as error:
            if not self._told:
                log.warning("prefixes can't be written to --cache-disk: %s", error.strerror)
            self._told = True
        else:
            self._told = False
        self._done(self._files.name(snapshot.scope, snapshot.tokens))

    def _done(self, name: str) -> None:
        """Take it from what is to be written."""
        with self._work_there:
            _, snapshot = self._pending.pop(name, (0.0, None))
            if snapshot is not None:
                self._pending_bytes -= snapshot.size

    def _look(self) -> None:
        changes = self._files.look()
        if changes is not None:
            self._results.put(lambda: self._changed(*changes))
