"""Bounds of what a download writes: the disk keeps a reserve, and no file grows without end.

A server may name no length, or a wrong one, and send for ever. So the free space is looked at again
and again while bytes come, and a file has to end where it says itself that it ends: a GGUF begins
with a list of its contents, from which its length follows.

Example: a server names no length and sends 40 GB. After 16 MiB the list of contents is here, which
makes 5 GB; if the disk has less than that and the reserve, the download ends there, else it ends at
5 GB and 16 MiB.
"""

import contextlib
import errno
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from gateway.core.byte_sizes import GIB, MIB, readable
from gateway.model_files import gguf

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that has no room."""
RESERVE_SHARE, MOST_RESERVE = 100, GIB
"""A hundredth of a disk stays free, of large ones a GiB."""
LOOK_EVERY = 16 * MIB
"""Bytes between two looks at the disk."""
MOST_CONTENTS = 256 * MIB
"""A list of contents is shorter: those with the largest vocabularies have 20 MiB."""
BEYOND = 16 * MIB
"""Bytes that a file may have behind its contents."""


class NoRoom(Exception):
    """The disk has too little space; one line."""


class TooLong(Exception):
    """More comes than the file can have; one line."""


def room(folder: Path) -> int:
    """Return the bytes that a download may write into a folder."""
    disk = shutil.disk_usage(folder)
    return max(0, disk.free - min(disk.total // RESERVE_SHARE, MOST_RESERVE))


def check_room(folder: Path, missing: int) -> None:
    """Raises :class:`NoRoom` if so many bytes would leave less than the reserve."""
    if missing > (there := room(folder)):
        raise NoRoom(
            f"{readable(missing)} are still to come, and the disk of {folder} has room for "
            f"{readable(there)}: a hundredth of it stays free, a GiB at most"
        )


@contextlib.contextmanager
def bounded_files(most: int) -> Iterator[None]:
    """Let no file grow beyond ``most`` bytes inside the context, whatever writes it.

    For code of others that writes all that a server sends; it meets an OSError then.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    lower = most if soft == resource.RLIM_INFINITY else min(most, soft)
    resource.setrlimit(resource.RLIMIT_FSIZE, (lower, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class FetchBounds:
    """The bounds of one file while it comes."""

    def __init__(self, part: Path, size: int | None, *, hashed: bool) -> None:
        """``size``: bytes of the whole file, as its server says; None if it does not.

        ``hashed``: a hash will tell if it is the right file, so that its contents need not.
        """
        self._part = part
        self._size = size
        self._end: int | None = None
        """End of the file by its own contents."""
        self._look_at = 0
        self._read_at = None if hashed else LOOK_EVERY
        """Bytes after which to read its contents; None: no more."""

    def begin(self, have: int) -> None:
        """Look before anything is asked for. Raises NoRoom."""
        if self._size is not None:
            check_room(self._part.parent, self._size - have)

    def grow(self, have: int, to: int) -> None:
        """Look before the part of ``have`` bytes grows. Raises NoRoom or TooLong."""
        if self._size is not None and to > self._size:
            raise TooLong(f"more comes than the {readable(self._size)} that it was to have")
        if self._end is not None and to > self._end + BEYOND:
            raise TooLong(f"more comes than the {readable(self._end)} of its own contents")
        if self._read_at is not None and have >= self._read_at:
            self._read_contents(have)
        if have >= self._look_at:
            self._look(have, to)

    def _look(self, have: int, to: int) -> None:
        folder = self._part.parent
        if self._end is not None:
            check_room(folder, max(to, self._end) - have)
        elif to - have > room(folder):
            raise NoRoom(
                f"the disk of {folder} has no room for more: a hundredth of it stays free, a GiB "
                "at most"
            )
        self._look_at = have + LOOK_EVERY

    def _read_contents(self, have: int) -> None:
        """Find out where the file ends, once that is told."""
        try:
            self._end = gguf.stated_size(self._part)
        except gguf.Unreadable as error:
            if have >= MOST_CONTENTS:
                raise TooLong(f"{readable(have)} have come, and no list of contents") from error
            self._read_at = 2 * have
            return
        self._read_at = None
        if self._end is not None and self._size is not None and self._size > self._end + BEYOND:
            raise TooLong(
                f"{readable(self._size)} are to come, and its own contents have "
                f"{readable(self._end)}"
            )
