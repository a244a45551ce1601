"""The folder of a server's data: one database, its blobs, and a lock.

::

    forge.db          SQLite's database, with -wal and -shm beside it
    blobs/ID          what was uploaded or made, whole
    unfinished/ID     what is being written; emptied at the start
    lock              held by the server that uses the folder

All of them are the user's alone: 0700 and 0600. The folder itself is made so, or left as it is.
"""

import contextlib
import fcntl
import logging
import os
import stat
from pathlib import Path

from gateway.stored.durable import make_folder
from gateway.stored.errors import StoreTaken, StoreUnusable

log = logging.getLogger("forge.store")


class DataFolder:
    """A folder that one server at a time has open."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.database = self.path / "forge.db"
        self.blobs = self.path / "blobs"
        self.unfinished = self.path / "unfinished"
        self._lock: int | None = None

    def open(self) -> None:
        """Make what is missing, and take the lock.

        Raises :class:`StoreUnusable`, or :class:`StoreTaken` if another server has it.
        """
        try:
            self._make()
            self._take()
            self._clean()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else error
            self.close()
            raise StoreUnusable(f"can't use {self.path}: {reason}") from error

    def _make(self) -> None:
        make_folder(self.path)
        if self.path.stat().st_mode & stat.S_IWOTH:
            log.warning("%s can be written by every user of this machine", self.path)
        for folder in (self.blobs, self.unfinished):
            make_folder(folder)

    def _take(self) -> None:
        self._lock = _private_file(self.path / "lock")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise StoreTaken(f"another server uses {self.path}") from None
        os.close(_private_file(self.database))  # SQLite gives the files beside it the same mode

    def _clean(self) -> None:
        """Delete what a server that died was writing; it also shows that files can be deleted."""
        for path in self.unfinished.iterdir():
            path.unlink()

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = None


def _private_file(path: Path) -> int:
    """Open a file of the user's alone; it is made if it is missing. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)
