"""Blobs as files of the data folder.

A writer's file is in another folder, and gets its name among the others when it is whole and on
the disk: ``fsync`` of the file, the new name, ``fsync`` of the folder. All of that is done in
threads of its own, since a disk may make them wait, and nothing else shall.
"""

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from gateway.core.errors import StorageFull
from gateway.stored.blobs import ID, Blob, BlobMissing, new_id
from gateway.stored.durable import flush, flush_names

THREADS = 4
GATHERED = 256 * 1024
"""Bytes that a writer gathers: to go to a thread costs as much as to write some KiB."""
PIECE = 256 * 1024
"""Bytes of a piece that is read."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

T = TypeVar("T")
Write = Callable[[int, memoryview], int]


class Threads:
    """A few threads, which are started when they are needed and may be ended for a while."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Return the result of ``work`` in a thread; a cancelled caller does not end it."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="forge-blobs")
        call = partial(work, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """End them."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


class FolderBlobs:
    """The blobs of one folder."""

    def __init__(self, folder: Path, unfinished: Path, write: Write = os.write) -> None:
        """``unfinished`` is on the same disk."""
        self._folder, self._unfinished, self._write = folder, unfinished, write
        self._threads = Threads()

    def writer(self) -> "FolderBlobWriter":
        """Begin another."""
        id_ = new_id()
        places = self._unfinished / id_, self._folder / id_
        return FolderBlobWriter(id_, *places, self._write, self._threads)

    async def read(
        self, id_: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Return its bytes in pieces; deleting it meanwhile does not matter."""
        with await self._threads.run(self._open, id_) as file:
            end = None if length is None else offset + length
            while end is None or offset < end:
                most = PIECE if end is None else min(PIECE, end - offset)
                piece = await self._threads.run(os.pread, file.fileno(), most, offset)
                if not piece:
                    return
                yield piece
                offset += len(piece)

    def _open(self, id_: str) -> FileIO:
        assert ID.fullmatch(id_), "ids are made here"
        try:
            return FileIO(self._folder / id_)
        except FileNotFoundError:
            raise BlobMissing(id_) from None

    async def delete(self, id_: str) -> None:
        """Delete one, if it is there."""
        assert ID.fullmatch(id_), "ids are made here"
        await self._threads.run((self._folder / id_).unlink, missing_ok=True)

    async def ids(self) -> set[str]:
        """Return the ids of all; what else is in the folder is none of ours."""
        names = await self._threads.run(os.listdir, self._folder)
        return {name for name in names if ID.fullmatch(name)}

    async def sweep(self) -> None:
        """Do nothing: the folder was emptied when it was opened."""

    def close(self) -> None:
        """End the threads, as soon as they have done what they are at."""
        self._threads.close()


class FolderBlobWriter:
    """A file that has no name among the blobs yet."""

    def __init__(
        self, id_: str, scratch: Path, place: Path, write: Write, threads: "Threads"
    ) -> None:
        self._threads = threads
        self._id, self._scratch, self._place, self._write = id_, scratch, place, write
        self._gathered = bytearray()
        self._size = 0
        self._file: int | None = None
        self._handed_over = False
        # A task that is cancelled leaves its thread at work: what comes next waits for that.
        self._one = threading.Lock()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add to it. Raises StorageFull."""
        self._gathered += data
        if len(self._gathered) >= GATHERED:
            await self._flush()

    async def _flush(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
        await self._threads.run(self._put, gathered)
        self._size += len(gathered)

    async def commit(self) -> Blob:
        """Make it count. Raises StorageFull."""
        await self._flush()
        await self._threads.run(self._finish)
        self._handed_over = True
        return Blob(self._id, self._size)

    async def abort(self) -> None:
        """Delete what was written, unless ``commit`` has returned."""
        if not self._handed_over:
            await self._threads.run(self._drop)

    def _put(self, data: bytearray) -> None:
        with self._one, _told():
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._file = os.open(self._scratch, flags, 0o600)
            rest = memoryview(data)
            while rest:
                rest = rest[self._write(self._file, rest) :]

    def _finish(self) -> None:
        with self._one, _told():
            assert self._file is not None, "an empty one was made, too"
            flush(self._file)
            self._scratch.rename(self._place)
            flush_names(self._place.parent)
            self._close()

    def _drop(self) -> None:
        with self._one:
            self._close()
            for path in (self._scratch, self._place):  # it may have got as far as its place
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                os.close(file)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raises StorageFull for a disk that takes no more, also for one that is broken."""
    try:
        yield
    except OSError as error:
        why = "is full" if error.errno in FULL else f"takes no more ({error.strerror})"
        raise StorageFull(f"the server's disk for files {why}") from error
