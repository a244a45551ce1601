"""Flushing to the disk: what is flushed survives a power failure."""

import errno
import fcntl
import os
from pathlib import Path

_FULL: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def flush(file: int) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises OSError.

    macOS's fsync leaves them in the disk's own cache, so that another call is needed there.
    """
    if _FULL is None:
        os.fsync(file)
        return
    try:
        fcntl.fcntl(file, _FULL)
    except OSError:  # a file system without it
        os.fsync(file)


def flush_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises OSError.

    File systems that keep no folder to be flushed, as some of the network, say EINVAL.
    """
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder and all above it, unless it is there. Raises OSError.

    A file in a folder whose name is lost is lost, too, however well it was flushed itself.
    """
    if folder.is_dir():
        return
    if not folder.parent.exists():
        make_folder(folder.parent, mode=0o777)
    folder.mkdir(mode=mode, exist_ok=True)
    try:
        flush_names(folder.parent)
    except PermissionError:  # names may be added there, and not be read
        return
