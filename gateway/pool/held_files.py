"""The files of a model, held open while it is served.

A worker that starts in the place of another must compute the same model, or one answer would be
begun by one model and continued by another. So the pool opens the files before its first worker,
and every worker reads them through these descriptors, ``/proc/self/fd/N``: they lead to the files
as they were even after others took their names, or none did. Only what is written into the files
themselves reaches them; then no worker is started any more. Where there is no ``/proc`` (macOS), a
worker is started only as long as the names lead to the same files.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.core.split_files import parts
from gateway.pool import FileState
from gateway.pool.entry import DESCRIPTORS, Inherited

log = logging.getLogger("forge.pool")

SAMPLES, SAMPLE_BYTES = 64, 1 << 12
"""Places of a file that are compared, and the bytes at each: a whole one takes minutes to read."""
EDGE_BYTES = 1 << 16
"""At its beginning and its end more is."""
TOLD: dict[FileState, str] = {
    "same": "is the one that is served again",
    "replaced": "was replaced: the old one is served",
    "removed": "was removed: it is served, and keeps its place on the disk",
    "overwritten": "was overwritten in place: its workers may compute rubbish, and none is started",
}
"""Continues "the model's file ..."."""
UNTIL = ", until the model is reloaded, or the server restarts"


class _Held(NamedTuple):
    path: Path
    descriptor: int
    written_ns: int
    """Time at which it was last written, as far as known."""
    print: bytes


class HeldFiles:
    """Files as they were when the first worker was started, and a look at what became of them."""

    def __init__(self) -> None:
        self._held: list[_Held] = []
        self.state: FileState = "same"
        self.problem: str | None = None
        """The reason why none is held, if one could not be opened."""

    async def open(self, first: str) -> None:
        """Open all files of the model that ``first`` is the first of.

        None is held if one can't be opened: a worker explains that better.
        """
        paths = parts(Path(first))
        try:
            self._held = await asyncio.to_thread(_opened, paths)
        except OSError as error:
            self.problem = str(error)

    def inherited(self) -> list[Inherited]:
        """Return what a worker needs to read them; nothing where it must read them by name."""
        return [Inherited(held.descriptor) for held in self._held] if DESCRIPTORS.is_dir() else []

    @property
    def print(self) -> bytes | None:
        """Return a digest of the files' contents, as far as they are compared; None if unknown."""
        if not self._held:
            return None
        found = hashlib.blake2b()
        for held in self._held:
            found.update(held.print + held.written_ns.to_bytes(8, signed=True))
        return found.digest()

    @property
    def contents(self) -> bytes:
        """Return a digest of the contents alone, the same on every machine; empty if unknown."""
        if not self._held:
            return b""
        return hashlib.blake2b(b"".join(held.print for held in self._held)).digest()

    async def look(self) -> None:
        """Compare the files with what their names lead to now; a change is told in the log."""
        state = await asyncio.to_thread(self._look)
        if state != self.state:
            path = str(self._held[0].path).encode("utf-8", "replace").decode()
            level, more = (logging.INFO, "") if state == "same" else (logging.WARNING, UNTIL)
            log.log(level, "the model's file %s %s%s", path, TOLD[state], more)
        self.state = state

    @property
    def refusal(self) -> str | None:
        """Return why no worker may be started, if so."""
        if self.state == "overwritten" or (self.state != "same" and not DESCRIPTORS.is_dir()):
            return f"the model's file {TOLD[self.state]}{UNTIL}"
        return None

    def _look(self) -> FileState:
        states = [self._look_at(at) for at in range(len(self._held))]
        return next((each for each in reversed(TOLD) if each in states), "same")

    def _look_at(self, at: int) -> FileState:
        held = self._held[at]
        now = os.fstat(held.descriptor)
        if now.st_mtime_ns != held.written_ns:
            if _print(held.descriptor) != held.print:
                return "overwritten"
            self._held[at] = held._replace(written_ns=now.st_mtime_ns)  # it was only touched
        try:
            if os.path.samestat(held.path.stat(), now):
                return "same"
            other = _open(held.path)
            try:
                return "same" if _print(other) == held.print else "replaced"
            finally:
                os.close(other)
        except OSError:
            return "removed"

    def close(self) -> None:
        """Let go of the files."""
        for held in self._held:
            os.close(held.descriptor)
        self._held.clear()


def content(paths: Sequence[Path]) -> bytes | None:
    """Return a digest of files' contents, as far as they are compared; None if one can't be read.

    It blocks.
    """
    found = hashlib.blake2b()
    try:
        held = _opened(paths)
    except OSError:
        return None
    for each in held:
        found.update(each.print)
        os.close(each.descriptor)
    return found.digest()


def _opened(paths: Sequence[Path]) -> list[_Held]:
    """Open regular files, all or none. Raises OSError."""
    with contextlib.ExitStack() as undo:
        held = []
        for path in paths:
            descriptor = _open(path)
            undo.callback(os.close, descriptor)
            found = os.fstat(descriptor)
            held.append(_Held(path, descriptor, found.st_mtime_ns, _print(descriptor)))
        undo.pop_all()
    return held


def _open(path: Path) -> int:
    """Open a regular file. Raises OSError."""
    # A FIFO would be waited for, but for O_NONBLOCK.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("not a regular file")


def _print(descriptor: int) -> bytes:
    """Return a hash of a file's size and of places in it."""
    size = os.fstat(descriptor).st_size
    found = hashlib.blake2b(str(size).encode())
    for start, count in _places(size):
        found.update(os.pread(descriptor, count, start))
    return found.digest()


def _places(size: int) -> Iterator[tuple[int, int]]:
    yield 0, EDGE_BYTES
    yield max(0, size - EDGE_BYTES), EDGE_BYTES
    for at in range(1, SAMPLES):
        yield size * at // SAMPLES, SAMPLE_BYTES
