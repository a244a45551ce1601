"""A download in a process of its own: ``python -m gateway.model_files.fetching < SOURCE``.

The server starts it, or the actor of a worker on its node: bytes and hashes are computing, and a
process can be ended at any byte. It prints a line of JSON whenever something is new, and ends with
one that has a path or an error. What has come when it is killed stays, and the next one goes on
from there.
"""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from gateway.config.config import ConfigError
from gateway.config.sources import check_model
from gateway.model_files import resolve
from gateway.model_files.fetch_process import FetchLine
from gateway.model_files.source import shown

EVERY_S = 0.1
"""Between two lines about one file."""


class _Teller:
    """Tells the newest of each file, at once if it is the first or the last, else now and then.

    Implements :class:`gateway.model_files.progress.DownloadProgress`.
    """

    def __init__(self) -> None:
        self._untold = dict[str, FetchLine]()
        self._begun = set[str]()
        self._one = threading.Lock()
        threading.Thread(target=self._tell_now_and_then, daemon=True).start()

    def __call__(
        self, name: str, done: int, total: int | None, *, sha256: str | None = None
    ) -> None:
        line = FetchLine(name=name, done=done, total=total, sha256=sha256)
        with self._one:
            self._untold[name] = line
        if name not in self._begun or done == total:
            self._begun.add(name)
            self.tell()

    def tell(self) -> None:
        """Print what is new."""
        with self._one:
            for line in self._untold.values():
                tell(line)
            self._untold.clear()

    def _tell_now_and_then(self) -> None:
        while True:
            time.sleep(EVERY_S)
            self.tell()


def tell(line: FetchLine) -> None:
    """Print a line; without a reader the process ends."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(2)  # the interpreter's end would try once more


def main(source: str) -> int:
    """Bring a model; return the exit code."""
    try:
        path = resolve.obtain(
            source,
            lambda: contextlib.nullcontext(_Teller()),
            lambda note: tell(FetchLine(note=note)),
        )
        check_model(Path(path), shown(source))
    except ConfigError as error:
        tell(FetchLine(error=str(error)))
        return 1
    tell(FetchLine(path=str(path)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer.read().decode("utf-8", "surrogateescape")))
