"""Folders of prefixes that outlive the server, one for each model and way to compute it.

``~/.cache/forge/prefixes/NAME-VERSION-DIGEST``: the workers write the files, see
``workers/kv/snapshot_files.py``. The digest is of all that the states in it depend on, so a folder
whose model, version or options are not used any more is never read again. The secret that
authenticates the files is elsewhere, in the folder of histories.
"""

import contextlib
import fcntl
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import msgspec

from gateway import __version__
from gateway.system.paths import cache_folder, state_folder

ABOUT = "about.json"
SECRET_BYTES = 32
SNAPSHOTS, UNFINISHED = ".kv", ".tmp"


class About(msgspec.Struct, frozen=True):
    """The contents of a folder's file about itself, for people and for ``forge rm``."""

    model: str
    """Path of the model's first file."""
    forge: str
    llama_cpp_python: str


@dataclass(frozen=True, slots=True)
class PrefixFolder:
    """One folder, and the sum of its files."""

    path: Path
    about: About
    files: int
    size: int


def root() -> Path:
    """Return the folder of all. Raises RuntimeError if this user has no home."""
    return cache_folder() / "prefixes"


def secret_file() -> Path:
    """Return the path of the secret. Raises RuntimeError likewise."""
    return state_folder() / "prefixes.secret"


def prepare(model: Path, facts: Sequence[bytes]) -> Path:
    """Make the folder for a model, and the secret; ``facts``: what its states depend on.

    What another version of Forge or llama.cpp left for the same file goes. Raises OSError or
    RuntimeError.
    """
    about = About(_text(model.absolute()), __version__, version("llama-cpp-python"))
    digest = blake2b(digest_size=12, person=b"forge prefixes")
    for fact in (about.forge, about.llama_cpp_python, platform.machine()):
        _add(digest, fact.encode())
    for each in facts:
        _add(digest, each)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", model.stem).lstrip(".")[:80]
    folder = root() / f"{name or 'model'}-{about.forge}-{digest.hexdigest()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / ABOUT).write_bytes(msgspec.json.encode(about))
    make_secret(secret_file())
    for other in listed():
        same = other.about.model == about.model
        if same and other.about != about:
            clear(other)
    return folder


def _add(digest: blake2b, fact: bytes) -> None:
    digest.update(len(fact).to_bytes(8) + fact)


def make_secret(path: Path) -> None:
    """Make the secret unless it is there: whole or not at all. Raises OSError."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, secrets.token_bytes(SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)  # another server may have been first
    finally:
        os.close(file)
        scratch.unlink()


def listed() -> Iterator[PrefixFolder]:
    """Yield all folders, by name. Raises RuntimeError if this user has no home."""
    with contextlib.suppress(OSError):
        for path in sorted(root().iterdir()):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                if path.is_symlink():
                    continue
                about = msgspec.json.decode((path / ABOUT).read_bytes(), type=About)
                sizes = [size for _, size in _snapshots(path)]
                yield PrefixFolder(path, about, len(sizes), sum(sizes))


def _snapshots(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            found = path.lstat()
            ours = path.name.endswith((SNAPSHOTS, UNFINISHED))
            if ours and stat.S_ISREG(found.st_mode):
                yield path, found.st_size


def of_model(files: Sequence[Path]) -> list[PrefixFolder]:
    """Return the folders of a model with these files."""
    names = {_text(path.absolute()) for path in files}
    return [each for each in listed() if each.about.model in names]


def clear(folder: PrefixFolder) -> int:
    """Delete the files of a folder; the bytes that are free now.

    The folder itself goes too, unless a worker uses it.
    """
    freed = 0
    with contextlib.suppress(OSError):
        for path, size in list(_snapshots(folder.path)):
            with contextlib.suppress(OSError):
                path.unlink()
                freed += size
        descriptor = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder.path, ignore_errors=True)
        finally:
            os.close(descriptor)
    return freed


def _text(path: Path) -> str:
    """A path as text; names of files need not be UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
