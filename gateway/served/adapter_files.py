"""Files of LoRA adapters: opened, compared with their model, and held open while they are served.

A worker that starts in the place of another must compute the same, so workers read what is open
here, ``/proc/PID/fd/N``, whatever became of the name; where there is no ``/proc`` they read the
file by its name as long as it is the one that was checked. An adapter that an admin names is opened
below ``--lora-dir`` step by step, and none of the steps may be a link.
"""

import contextlib
import os
import stat
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gateway.model_files import gguf, lora
from gateway.model_files.lora import LoraFacts, Unfit
from gateway.system import host
from workers.protocol import AdapterFile, digest_of

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
DESCRIPTORS = Path("/proc/self/fd")


class OpenedAdapter(NamedTuple):
    """An adapter's file that fits its model."""

    file: AdapterFile
    facts: LoraFacts
    descriptor: int
    """Held open until :meth:`close`."""

    def close(self) -> None:
        """Let go of the file: no worker will load it any more."""
        os.close(self.descriptor)


def opened(path: Path, model: Path, workers: int) -> OpenedAdapter:
    """Open an adapter of ``model`` for so many workers of this machine. Raises :class:`Unfit`.

    It blocks.
    """
    if path.is_dir():
        raise Unfit(f"{path}: {lora.NO_FOLDER}")
    try:
        descriptor = os.open(path, FLAGS)
    except OSError as error:
        raise Unfit(f"can't read {path}: {error.strerror}") from error
    return _checked(descriptor, path, model, workers)


def opened_below(folder: Path, name: str, model: Path, workers: int) -> OpenedAdapter:
    """Open an adapter by its path in ``folder``, or from there on. Likewise."""
    steps = _steps(folder, name)
    with contextlib.ExitStack() as stack:
        try:
            at = os.open(folder, FLAGS | os.O_DIRECTORY)
            stack.callback(os.close, at)
            for step in steps[:-1]:
                at = os.open(step, FLAGS | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
                stack.callback(os.close, at)
            descriptor = os.open(steps[-1], FLAGS | os.O_NOFOLLOW, dir_fd=at)
        except OSError as error:
            raise Unfit(f"there is no file '{name}' in --lora-dir that may be loaded") from error
    return _checked(descriptor, folder.joinpath(*steps), model, workers)


def _steps(folder: Path, name: str) -> tuple[str, ...]:
    """Return a path's parts below ``folder``. Raises :class:`Unfit` for one outside."""
    path = PurePosixPath(name)
    if path.is_absolute():
        with contextlib.suppress(ValueError):
            path = path.relative_to(folder.absolute())
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise Unfit("adapters are loaded from --lora-dir alone: this path leads elsewhere")
    return path.parts


def _checked(descriptor: int, path: Path, model: Path, workers: int) -> OpenedAdapter:
    """Take over a descriptor. Raises :class:`Unfit`."""
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, descriptor)
        before = os.fstat(descriptor)
        if stat.S_ISDIR(before.st_mode):
            raise Unfit(f"{path}: {lora.NO_FOLDER}")
        if not stat.S_ISREG(before.st_mode):
            raise Unfit(f"{path} is no regular file")
        held = DESCRIPTORS / str(descriptor) if DESCRIPTORS.is_dir() else path
        try:
            facts = lora.read(held, gguf.read(model))
        except (Unfit, gguf.Unreadable) as error:
            text = str(error).replace(str(held), str(path))
            raise Unfit(text if str(path) in text else f"{path}: {text}") from error
        _check_memory(path, before.st_size, workers)
        digest = digest_of(partial(os.pread, descriptor))
        after = os.fstat(descriptor)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Unfit(f"{path} is being written")
        shown = str(path).encode("utf-8", "replace").decode()
        paths = (f"/proc/{os.getpid()}/fd/{descriptor}", str(path))
        undo.pop_all()
    file = AdapterFile(digest, paths, shown, after.st_size, after.st_mtime_ns)
    return OpenedAdapter(file, facts, descriptor)


def _check_memory(path: Path, size: int, workers: int) -> None:
    free = host.memory_available()
    if free is not None and size * workers > free:
        each = f" in each of {workers} workers" if workers > 1 else ""
        raise Unfit(f"{path} takes {size >> 20:,} MiB{each}, and {free >> 20:,} MiB are free")
