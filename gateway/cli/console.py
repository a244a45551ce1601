"""The common part of all commands: streams, the line of an error, exit codes, the end by a signal.

0 success; of ``forge serve`` its end by SIGTERM or SIGINT.
1 no answer from the server (``forge run`` and ``forge chat``); an error found by ``forge doctor``;
  of ``forge serve`` what may pass by itself: no hub, an address in use, too little memory, workers
  that can't start.
2 a wrong argument, a model that can't be used, output that can't be written, or other work that
  can't be done. Output whose reader went away, as under ``head``, is no error.
130 interrupted by Ctrl-C, or by SIGTERM where nothing else is said.
128 + N ``forge run`` and ``forge chat``, ended by signal N (SIGTERM, SIGHUP).
"""

import codecs
import contextlib
import enum
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from gateway.model_files import resolve
from gateway.model_files.progress import DownloadProgress
from gateway.system.log_setup import escaped

NARROWEST, WIDEST = 72, 4096
"""Columns for which tables are made, whatever COLUMNS says."""
KEPT = "interrupted; what came is kept, and the next time it goes on from there"
"""The last line of a download."""


class Exit(enum.IntEnum):
    """Exit codes of all commands."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    INTERRUPTED = 130


class OutputFailed(Exception):
    """Stdout can't be written; the text says why."""


class OutputClosed(Exception):
    """The reader of stdout went away."""


class _Output(io.FileIO):
    """Stdout, whose errors are not taken for those of other files."""

    optional = False
    """True: the command goes on without it."""
    _over = False

    def write(self, data: Any, /) -> int:
        if self._over:
            return len(data)  # nothing more, or the interpreter's end would fail again
        try:
            return super().write(data)
        except OSError as error:
            self._over = True
            if self.optional:
                say("serve", f"stdout: {error.strerror}")
                return len(data)
            if isinstance(error, BrokenPipeError):
                raise OutputClosed from None
            raise OutputFailed(error.strerror) from None


class _Notes(io.FileIO):
    """Stderr, without which every command goes on."""

    def write(self, data: Any, /) -> int:
        with contextlib.suppress(OSError):
            super().write(data)
        return len(data)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write bytes of arguments and names of files as they were, other characters as in Python."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    try:
        return text.encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return text.encode("ascii", "backslashreplace"), error.end


def main(command: str, work: Callable[[], int]) -> int:
    """Do a whole command and return its exit code, whatever its streams are."""
    open_streams()
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except OutputClosed:
        return Exit.OK
    except OutputFailed as error:
        return fail(command, f"can't write to stdout: {error}")


def open_streams() -> None:
    """Make stdin, stdout and stderr usable, even if they are closed, full or know ASCII alone."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file would be number 1, and get the output. Stdout stays unwritable.
            os.open(os.devnull, os.O_WRONLY if descriptor == 2 else os.O_RDONLY)
            os.set_inheritable(descriptor, True)
    codecs.register_error("spelled", _spelled)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Output(1, "wb", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Notes(2, "wb", closefd=False), sys.stderr)
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal():
        os.environ["COLUMNS"] = str(min(max(int(columns[:9]), NARROWEST), WIDEST))


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    encoding = "utf-8" if before is None else before.encoding
    by_line = raw.isatty() or raw.fileno() == 2
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "spelled", line_buffering=by_line)


def go_on_without_output() -> None:
    """Let the command go on if its stdout can't be written."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        raw.optional = True


def is_text(argument: str) -> bool:
    """Return whether an argument is UTF-8; the name of a file need not be."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def say(command: str, line: str) -> None:
    """Print a line on stderr, harmless for a terminal."""
    print(f"forge {command}".rstrip() + f": {escaped(line)}", file=sys.stderr)


def fail(command: str, reason: str, code: Exit = Exit.REFUSED) -> Exit:
    """Print the one line that tells why a command failed; return its exit code."""
    say(command, f"error: {reason}")
    return code


def run(
    command: str,
    work: Callable[[], Exit | None],
    *,
    refused: tuple[type[Exception], ...],
    failed: tuple[type[Exception], ...] = (),
    interrupted: str = "interrupted",
) -> Exit:
    """Do ``work`` and return the exit code, after a line on stderr if it was not done.

    ``refused`` and ``failed`` are the errors that become the codes of these names, an error that is
    both has failed; their texts are fit for the user. ``interrupted`` is the line after Ctrl-C.
    """
    try:
        return work() or Exit.OK
    except (*refused, *failed) as error:
        return fail(command, str(error), Exit.FAILED if isinstance(error, failed) else Exit.REFUSED)
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal has written ^C
        say(command, interrupted)
        return Exit.INTERRUPTED


@contextlib.contextmanager
def interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Let these signals interrupt as Ctrl-C does, even if they were ignored before."""

    def interrupt(_: int, frame: FrameType | None) -> None:
        # An event loop's own way cancels its task; raised in the middle of one, it is not noticed.
        theirs = signal.getsignal(signal.SIGINT)
        if not callable(theirs) or theirs is interrupt:
            raise KeyboardInterrupt
        theirs(signal.SIGINT, frame)

    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def obtain(text: str) -> Path:
    """Return the file of the model ``text``, after a download with progress on stderr if need be.

    Raises :class:`gateway.config.config.ConfigError`.
    """
    return resolve.obtain(text, _downloads, _note)


def _downloads() -> AbstractContextManager[DownloadProgress]:
    from gateway.cli.progress import Progress  # late: rich takes a while to import

    return Progress("bytes")


def _note(line: str) -> None:
    print(f"forge: {escaped(line)}", file=sys.stderr)
