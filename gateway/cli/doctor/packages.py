"""The interpreter and Forge's dependencies: is the right version of each installed?

``packaging`` compares versions where it is installed, which it is beside huggingface-hub. Without
it something else is missing anyway, and that is what is told.
"""

import platform
import re
import shutil
import struct
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from gateway.cli.doctor.finding import Finding, error, ok, warning

DISTRIBUTION = "forge-inference-gateway"
PROJECT = Path(__file__).parents[3] / "pyproject.toml"
"""Of a checkout."""
LLAMA = "llama-cpp-python"
NOT_INSTALLED = "is not installed"
HELP = (
    "make serve in a checkout, or pip install Forge's wheel. Without a network: pip wheel on a "
    "machine that has one, and pip install --no-index --find-links FOLDER here"
)


def interpreter() -> Iterator[Finding]:
    """Look at the system and at Python, of which 3.11 runs this or it does not start."""
    system, bits = platform.system(), 8 * struct.calcsize("P")
    what = f"Python {platform.python_version()} on {system} {platform.machine()}, {bits} bits"
    if system not in ("Linux", "Darwin"):
        advice = "use Linux or macOS; on Windows, WSL 2"
        yield error("python", f"{what}: Forge needs Unix sockets and forks", advice)
    elif bits < 64:
        advice = "use a 64-bit Python: a model's file is mapped into the address space"
        yield error("python", what, advice)
    else:
        yield ok("python", f"{what}, {sys.executable}")


def packages() -> Iterator[Finding]:
    """Look for every dependency but llama.cpp, which is looked at more closely elsewhere."""
    needed = [line for line in requirements() if not line.startswith(LLAMA)]
    if not needed:
        yield warning(
            "packages",
            "neither an installation nor a checkout: what Forge depends on is not known",
            "install Forge's wheel, or run make serve in a checkout",
        )
        return
    faults = {line: fault for line in needed if (fault := missing(line))}
    if not faults:
        yield ok("packages", f"{len(needed)} dependencies, each in its range")
        return
    absent = [_name(line) for line, fault in faults.items() if fault == NOT_INSTALLED]
    wrong = [f"{_name(line)} {fault}" for line, fault in faults.items() if fault != NOT_INSTALLED]
    missed = [f"not installed: {', '.join(absent)}"] if absent else []
    yield error("packages", "; ".join([*missed, *wrong]), HELP)


def installer() -> Iterator[Finding]:
    """Look for what installs packages; Debian's Python comes without it."""
    if find_spec("pip") is None and find_spec("ensurepip") is None and shutil.which("uv") is None:
        advice = "install it (Debian: apt-get install python3-pip python3-venv), or uv"
        yield error("packages", "this Python has neither pip nor a way to get it", advice)


def _name(line: str) -> str:
    """Return the name in a requirement."""
    return re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]


def requirements() -> list[str]:
    """Return Forge's dependencies on this machine, without extras."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        if not PROJECT.is_file():
            return []
        lines = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["dependencies"]
    return [line for line in lines if _here(line)]


def _here(line: str) -> bool:
    """Return whether a dependency's marker, if it has one, holds here."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ";" not in line
    marker = Requirement(line).marker
    return marker is None or marker.evaluate({"extra": ""})


def missing(line: str) -> str:
    """Return why a dependency is not fulfilled; empty if it is."""
    try:
        found = metadata.version(_name(line))
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return ""
    specifier = Requirement(line).specifier
    right = specifier.contains(found, prereleases=True)
    return "" if right else f"is {found}, and has to be {specifier}"


def llama_requirement() -> str:
    """Return the requirement of llama.cpp, as pip takes it."""
    return next((line for line in requirements() if line.startswith(LLAMA)), LLAMA)
