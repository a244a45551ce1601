"""llama.cpp as it is installed: does it load, does it suit the CPU, can it use the GPU?"""

import json
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gateway.cli.doctor import cpu_features, packages
from gateway.cli.doctor.finding import Finding, error, ok, warning
from gateway.system import host

PATIENCE_S = 60.0
DRIVERS = {
    "/proc/driver/nvidia/version": ("an NVIDIA GPU", "-DGGML_CUDA=on"),
    "/dev/kfd": ("an AMD GPU", "-DGGML_HIP=on"),
}
"""Files of drivers for compute: the GPU, and the option of llama.cpp's build."""
LIBRARIES = {
    "libgomp": "install OpenMP's library (Debian: apt-get install libgomp1)",
    "GLIBC": "it was built on a newer system",
    "libcud": "install the CUDA runtime that it was built with",
}
"""Names in the loader's errors, and what they mean."""


AMX_FAILS = (
    "llama.cpp was built for the CPU's matrix unit and dies of it, as builds of GCC 12 do, so no "
    "weights are repacked"
)
WITHOUT_AMX = "-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8"


class LlamaUnusable(Exception):
    """llama.cpp can't be loaded; the text says why."""


def installed() -> bool:
    """Return whether there is a llama.cpp, which may still not load."""
    return find_spec("llama_cpp") is not None


def llama() -> Iterator[Finding]:
    """Look at llama.cpp, in a process of its own: it may die of a wrong instruction."""
    if not installed():
        advice = f"pip install '{packages.llama_requirement()}' compiles it: some minutes, once"
        yield error("llama.cpp", "it is not installed", advice)
        yield from gpu(None)
        return
    try:
        build = built()
    except LlamaUnusable as failure:
        yield error("llama.cpp", f"it can't be loaded: {failure}", _remedy(str(failure)))
        return
    reason = packages.missing(packages.llama_requirement())
    if reason:
        yield error(
            "llama.cpp",
            f"llama-cpp-python {reason}",
            f"pip install '{packages.llama_requirement()}'",
        )
    else:
        yield ok("llama.cpp", f"llama-cpp-python {build['version']}")
    yield cpu(build["features"].get("CPU", {}))
    if build["amx_fails"]:
        yield warning(
            "amx", AMX_FAILS, f"with another compiler, or without it: {rebuilding(WITHOUT_AMX)}"
        )
    yield from gpu(build["gpu"])


def built() -> dict[str, Any]:
    """Return what llama.cpp tells of its build. Raises :class:`LlamaUnusable`."""
    try:
        from workers.protocol import children  # late: it needs what may be missing
    except ImportError as failure:
        raise LlamaUnusable(f"{failure.name} is missing") from failure
    try:
        done = subprocess.run(
            children.command("workers.llama.build"),
            env=children.environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise LlamaUnusable(f"no answer in {PATIENCE_S:.0f} s") from None
    if done.returncode < 0:
        raise LlamaUnusable(f"it dies of {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise LlamaUnusable(
            done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _remedy(reason: str) -> str:
    if signal.SIGILL.name in reason:
        return f"it was built for another CPU: {rebuilding()}"
    for name, remedy in LIBRARIES.items():
        if name in reason:
            return f"{remedy}, or {rebuilding()}"
    return rebuilding()


def rebuilding(options: str = "") -> str:
    """Return the command that builds llama.cpp anew, with ``options`` for its build."""
    before = f'CMAKE_ARGS="{options}" ' if options else ""
    pip = "pip install --force-reinstall --no-deps --no-cache-dir --no-binary :all:"
    return f"{before}{pip} '{packages.llama_requirement()}'"


def cpu(build: dict[str, str], root: Path = host.SYSTEM) -> Finding:
    """Compare the CPU with the build's features; say how many cores there are."""
    cores = f"{host.available_cores(root)} of {os.cpu_count()} cores"
    name = f"{host.cpu_model(root)}, {cores}"
    try:
        flags = cpu_features.flags((root / "proc/cpuinfo").read_text())
    except OSError:
        flags = frozenset()
    if not flags:
        used = [each for each, value in build.items() if value == "1"]
        return ok("cpu", f"{name}; llama.cpp uses {', '.join(used)}")
    different = cpu_features.compared(build, flags)
    if different.absent:
        message = f"{name}; llama.cpp was built for a CPU with {', '.join(different.absent)}"
        return error("cpu", message, rebuilding())
    if different.unused:
        message = f"{name}; llama.cpp was built without its {', '.join(different.unused)}"
        return warning("cpu", message, f"for more speed: {rebuilding()}")
    return ok("cpu", f"{name}; llama.cpp uses all of its features")


def gpu(supported: bool | None, root: Path = host.SYSTEM) -> Iterator[Finding]:
    """Compare the GPUs with the build; None: there is no build yet."""
    there = _gpus(root)
    if supported:
        yield ok("gpu", "llama.cpp finds one: --n-gpu-layers -1 puts the model there")
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        if supported is not None:
            remedy = rebuilding("-DGGML_METAL=on")
            yield warning("gpu", "llama.cpp was built without Metal", remedy)
    elif there and supported is None:
        what, option = there[0]
        advice = f'for a build that uses it: CMAKE_ARGS="{option}" before pip or make'
        yield warning("gpu", f"there is {what}, and llama.cpp will be built without it", advice)
    elif there:
        what, option = there[0]
        message = f"there is {what}, and llama.cpp was built without it, or can't reach it"
        yield warning("gpu", message, f"{rebuilding(option)}; in a container, pass the device on")
    elif supported is not None:
        yield ok("gpu", "no driver of one is found; llama.cpp computes on the CPU")


def _gpus(root: Path) -> list[tuple[str, str]]:
    found = [told for file, told in DRIVERS.items() if (root / file.lstrip("/")).exists()]
    if not found and shutil.which("nvidia-smi") is not None:
        found.append(DRIVERS["/proc/driver/nvidia/version"])
    return found
