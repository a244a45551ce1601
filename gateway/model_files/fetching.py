"""A download in a process of its own: ``python -m gateway.model_files.fetching SOURCE``.

The server starts it: bytes and hashes are computing, and a process can be ended at any byte. It
prints a line of JSON whenever something is new, and ends with one that has a path or an error. What
has come when it is killed stays, and the next one goes on from there.
"""

import contextlib
import sys
import time
from pathlib import Path

import msgspec

from gateway.config.config import ConfigError
from gateway.config.sources import check_model
from gateway.model_files import resolve

EVERY_S = 0.1
"""Between two lines about one file."""


class FetchLine(msgspec.Struct, omit_defaults=True):
    """One line of the output."""

    name: str = ""
    """The file that the numbers are about."""
    done: int = 0
    total: int | None = None
    sha256: str | None = None
    note: str = ""
    path: str = ""
    """The model's first file, once all are here."""
    error: str = ""
    """The reason why they are not."""


class _Teller:
    """Implements :class:`gateway.model_files.progress.DownloadProgress`."""

    def __init__(self) -> None:
        self._told = dict[str, float]()

    def __call__(
        self, name: str, done: int, total: int | None, *, sha256: str | None = None
    ) -> None:
        now = time.monotonic()
        if done == total or now - self._told.get(name, -EVERY_S) >= EVERY_S:
            self._told[name] = now
            tell(FetchLine(name=name, done=done, total=total, sha256=sha256))


def tell(line: FetchLine) -> None:
    """Print a line; without a reader the process ends."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def main(source: str) -> int:
    """Bring a model; return the exit code."""
    try:
        path = resolve.obtain(
            source,
            lambda: contextlib.nullcontext(_Teller()),
            lambda note: tell(FetchLine(note=note)),
        )
        check_model(Path(path), source)
    except ConfigError as error:
        tell(FetchLine(error=str(error)))
        return 1
    tell(FetchLine(path=str(path)))
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        sys.exit(main(sys.argv[1]))
    sys.exit(2)
