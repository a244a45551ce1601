"""Names that an admin gave to models with POST /api/copy. They survive the server.

A file in the user's folder of state has them, ``names.json``: another name and the model's own.
All servers of a user share it; each reads it at its start, and all of it again before a change.

A file that is damaged, or was edited into something else, is never written over: the log says so,
and the next change moves it aside and begins a new one with the names that this server knows.
"""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import msgspec

from gateway.core.errors import BadRequest, NotFound
from gateway.system.paths import state_folder

log = logging.getLogger("forge.models")

MOST = 256
"""Names in the file."""
MAX_NAME = 256
"""Characters of one."""


def usual_file() -> Path | None:
    """Return the path of the file; None if this user has no home."""
    try:
        return state_folder() / "names.json"
    except RuntimeError:
        return None


class CopiedNames:
    """Other names of models, and the file that keeps them."""

    def __init__(self, file: Path | None) -> None:
        """``file`` None: the names end with the server."""
        self._file = file
        self._names = dict[str, str]()
        try:
            self._names = self._read()
        except (OSError, msgspec.MsgspecError) as error:
            log.error("copied names are not served: %s (%s)", file, _reason(error))

    def find(self, name: str) -> str | None:
        """Return the own name of the model that has this other name."""
        return self._names.get(name)

    def of(self, own: str) -> list[str]:
        """Return the other names of a model."""
        return sorted(name for name, each in self._names.items() if each == own)

    def items(self) -> Iterator[tuple[str, str]]:
        """Yield all names, each with the own name of its model."""
        yield from self._names.items()

    def add(self, name: str, own: str) -> None:
        """Give a model another name, which another model may have had. Raises BadRequest, OSError.

        It blocks: the file is written, and its folder held while it is.
        """
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            message = f"'destination': a name has 1 to {MAX_NAME} printable characters"
            raise BadRequest(message, param="destination")
        if name not in self._names and len(self._names) >= MOST:
            raise BadRequest(f"there are {MOST} such names already", param="destination")
        self._change({name: own}, set())

    def remove(self, name: str) -> None:
        """Forget a name. Raises NotFound, OSError. It blocks likewise."""
        if name not in self._names:
            raise NotFound(f"'{name}' is no other name of a model")
        self._change({}, {name})

    def _change(self, more: Mapping[str, str], less: set[str]) -> None:
        if self._file is None:
            self._names = _changed(self._names, more, less)
            return
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._file.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            names = _changed(self._sound(self._file), more, less)
            scratch = self._file.with_name(f"{self._file.name}.{os.getpid()}.tmp")
            with scratch.open("wb") as stream:
                stream.write(msgspec.json.encode(names))
                stream.flush()
                os.fsync(stream.fileno())  # else a power cut may leave an empty file of this name
            scratch.replace(self._file)
        finally:
            os.close(lock)
        self._names = names

    def _sound(self, file: Path) -> dict[str, str]:
        """Return the file's names; this server's if the file is damaged, which is moved aside.

        Raises OSError for one that can't be read: what is in it is not known.
        """
        try:
            return self._read()
        except msgspec.MsgspecError as error:
            aside = _free_name(file)
            file.rename(aside)
            log.error("%s holds no names of models (%s): kept as %s", file, _reason(error), aside)
            return self._names

    def _read(self) -> dict[str, str]:
        """Return the file's names. Raises OSError, or MsgspecError for a file of something else."""
        try:
            raw = b"{}" if self._file is None else self._file.read_bytes()
        except FileNotFoundError:
            return {}
        return msgspec.json.decode(raw, type=dict[str, str])


def _free_name(file: Path) -> Path:
    """Return a name beside a file's that no file has."""
    names = (file.with_name(f"{file.name}.broken-{number}") for number in count(1))
    return next(each for each in names if not each.exists())


def _reason(error: Exception) -> str:
    """Return the reason without the path, which the line names already."""
    return os.strerror(error.errno or errno.EIO) if isinstance(error, OSError) else str(error)


def _changed(names: Mapping[str, str], more: Mapping[str, str], less: set[str]) -> dict[str, str]:
    kept = {name: own for name, own in names.items() if name not in less}
    return {**kept, **more}
