"""The common part of all commands: the line of an error, the exit codes, the end by a signal.

0 success; of ``forge serve`` its end by SIGTERM or SIGINT.
1 no answer from the server (``forge run`` and ``forge chat``).
2 a wrong argument, a model that can't be used, or other work that can't be done.
130 interrupted by Ctrl-C, or by SIGTERM where nothing else is said.
128 + N ``forge run`` and ``forge chat``, ended by signal N (SIGTERM, SIGHUP).
"""

import contextlib
import enum
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from gateway.model_files import resolve
from gateway.model_files.progress import DownloadProgress
from gateway.system.log_setup import escaped


class Exit(enum.IntEnum):
    """Exit codes of all commands."""

    OK = 0
    FAILED = 1
    REFUSED = 2
    INTERRUPTED = 130


def say(command: str, line: str) -> None:
    """Print a line on stderr, harmless for a terminal."""
    print(f"forge {command}: {escaped(line)}", file=sys.stderr)


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

    ``refused`` and ``failed`` are the errors that become the codes of these names; their texts are
    fit for the user. ``interrupted`` is the line after Ctrl-C.
    """
    try:
        return work() or Exit.OK
    except refused as error:
        return fail(command, str(error))
    except failed as error:
        return fail(command, str(error), Exit.FAILED)
    except BrokenPipeError:  # as under `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal has written ^C
        say(command, interrupted)
        return Exit.INTERRUPTED


@contextlib.contextmanager
def interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Let these signals interrupt as Ctrl-C does, even if they were ignored before."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

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
