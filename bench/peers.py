"""The programs of llama.cpp to compare with, built from the very sources of the installed library.

llama-cpp-python's source distribution holds those of llama.cpp, so peer and Forge share kernels.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from .models import cache

PROGRAMS = ("llama-server", "llama-batched-bench", "llama-bench")
FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)  # fmt: skip
"""GGML_NATIVE and OpenMP are on by default, as in the library's own build."""
DONE = re.compile(r"^\[\s*(\d+)[%/]\s*(\d+)?")
"""Progress in the output of make and ninja."""
Tick = Callable[[str, int, int], None]
"""Gets what is done now, how far it is, and how far it goes."""


class NoPeer(Exception):
    """A peer can't be had here; the message says why."""


def library() -> str:
    """The release of llama-cpp-python that is installed."""
    return version("llama-cpp-python")


def programs(folder: Path | None, tick: Tick) -> Path:
    """The folder that holds the PROGRAMS: the given one, or the cache, where they are built once.

    Raises NoPeer.
    """
    found = folder or cache() / f"llama-cpp-python-{library()}" / "build" / "bin"
    if missing := [name for name in PROGRAMS if not os.access(found / name, os.X_OK)]:
        if folder is not None:
            raise NoPeer(f"{folder} has no {', '.join(missing)}")
        build(configure(sources(tick), tick), tick)
    return found


def sources(tick: Tick) -> Path:
    """llama.cpp's sources, downloaded and unpacked once."""
    base = cache() / f"llama-cpp-python-{library()}"
    found = base / f"llama_cpp_python-{library()}" / "vendor" / "llama.cpp"
    if not found.exists():
        base.mkdir(parents=True, exist_ok=True)
        tick("downloading llama.cpp", 0, 0)
        wanted = f"llama-cpp-python=={library()}"
        _do("pip download", sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary",
            "llama-cpp-python", "--dest", str(base), wanted)  # fmt: skip
        (archive,) = base.glob("llama_cpp_python-*.tar.gz")
        tick("unpacking llama.cpp", 0, 0)
        with tarfile.open(archive) as tar:
            tar.extractall(base / "part", filter="data")
        os.replace(base / "part" / found.relative_to(base).parts[0], found.parent.parent)
    return found


def configure(source: Path, tick: Tick) -> Path:
    """Return the folder in which it is to be built."""
    if shutil.which("cmake") is None:
        raise NoPeer("there is no cmake to build llama.cpp with")
    folder = cache() / f"llama-cpp-python-{library()}" / "build"
    tick("configuring llama.cpp", 0, 0)
    _do("cmake", "cmake", "-S", str(source), "-B", str(folder), *FLAGS)
    return folder


def build(folder: Path, tick: Tick) -> None:
    """Some minutes, once."""
    cores = str(os.cpu_count() or 1)
    command = ["cmake", "--build", str(folder), "-j", cores, "--target", *PROGRAMS]

    def said(line: str) -> None:
        if found := DONE.match(line):
            tick("building llama.cpp", int(found[1]), int(found[2] or 100))

    _do("cmake --build", *command, said=said)


def python_server() -> None:
    """Check that `python -m llama_cpp.server` can be started here. Raises NoPeer."""
    needed = ("fastapi", "sse_starlette", "starlette_context", "pydantic_settings")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise NoPeer(f"needs {', '.join(missing)}: pip install 'llama-cpp-python[server]'")


def _do(name: str, *command: str, said: Callable[[str], None] = lambda line: None) -> None:
    """Raises NoPeer with the end of what it said if it fails."""
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            said(line)
    if process.returncode:
        raise NoPeer(f"{name} failed:\n{''.join(lines[-10:])}")
