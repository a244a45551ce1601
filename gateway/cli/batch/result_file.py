"""A file of results: whole lines, added one by one, found again by the next run.

A line goes to the system in one piece, so that it outlives this process; it is flushed to the disk
once a second. What a process that died has left of a line is cut off at the next start.
"""

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Any, Self

import orjson

from gateway.cli.batch.requests import BatchRefused, digest

SYNC_S = 1.0
BEGIN = b'{"id":"batch_req_'
"""The beginning of each line; a part of a line that begins otherwise is not ours to cut off."""


def result(
    custom_id: str,
    status: int | None = None,
    request_id: str = "",
    body: bytes = b"null",
    error: dict[str, str] | None = None,
) -> bytes:
    """Return a result's line, as OpenAI's batches write it. ``body``: JSON."""
    response: dict[str, Any] | None = None
    if status is not None:
        if b"\n" in body or b"\r" in body:  # a server that writes for people
            body = orjson.dumps(orjson.loads(body))
        fragment = orjson.Fragment(body)
        response = {"status_code": status, "request_id": request_id, "body": fragment}
    value = {
        "id": f"batch_req_{secrets.token_hex(12)}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return orjson.dumps(value) + b"\n"


class ResultFile:
    """One such file, of which no other process writes."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`BatchRefused`."""
        self.path = path
        self._synced = time.monotonic()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise BatchRefused(f"can't write {path}: {error.strerror}") from error
        with contextlib.ExitStack() as unless_read:
            unless_read.callback(os.close, self._file)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.ids = self._read()
                """Digests of the ids that have a result here."""
            except BlockingIOError:
                raise BatchRefused(f"another forge batch writes {path}") from None
            except OSError as error:
                raise BatchRefused(f"can't use {path}: {error.strerror}") from error
            unless_read.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)

    def _read(self) -> set[str]:
        found: set[str] = set()
        end, data = 0, b"\n"
        with self.path.open("rb") as file:
            for number, data in enumerate(file, 1):
                custom_id = _custom_id(data)
                if custom_id is None and not data.endswith(b"\n") and _torn(data):
                    os.ftruncate(self._file, end)
                    return found
                if custom_id is None:
                    message = "is not a result of a batch: it is left as it is"
                    raise BatchRefused(f"{self.path}, line {number}, {message}")
                end += len(data)
                found.add(digest(custom_id))
        if not data.endswith(b"\n"):
            os.write(self._file, b"\n")
        return found

    def add(self, line: bytes) -> None:
        """Add a line. Raises :class:`BatchRefused` if it can't be written."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            raise BatchRefused(f"can't write {self.path}: {error.strerror}") from error

    def empty(self) -> None:
        """Take all lines away."""
        os.ftruncate(self._file, 0)

    def remove_if_empty(self) -> None:
        """Remove the file if it has no lines."""
        if os.fstat(self._file).st_size == 0:
            self.path.unlink(missing_ok=True)


def _custom_id(data: bytes) -> str | None:
    """Return the id of a result's line; None if it is none."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not value.keys() >= {"response", "error"}:
        return None
    found = value.get("custom_id")
    return found if isinstance(found, str) else None


def _torn(data: bytes) -> bool:
    """Return whether data may be the beginning of a line that was not written to its end."""
    return data.startswith(BEGIN) or BEGIN.startswith(data)
