"""The compiler: is there one that can build llama.cpp on this machine?"""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.doctor.finding import Finding, error, ok, warning

SOURCE = """\
#include <atomic>
#include <filesystem>
#include <optional>
#include <thread>
int main() {
    std::optional<std::filesystem::path> here = std::filesystem::current_path();
    std::atomic<int> count{0};
    std::thread([&] { count += here.has_value(); }).join();
    return count.load() - 1;
}
"""
"""A little of each part of C++17 that llama.cpp uses; it ends with 0."""
FEATURES = {"OpenMP": ("-fopenmp",), "code for this very CPU": ("-march=native",)}
"""Flags that llama.cpp's build uses where the compiler knows them."""
PATIENCE_S = 60.0
PACKAGES = {
    "debian": "apt-get install build-essential",
    "fedora": "dnf install gcc-c++ make",
    "rhel": "dnf install gcc-c++ make",
    "suse": "zypper install gcc-c++ make",
    "arch": "pacman -S base-devel",
    "alpine": "apk add build-base linux-headers",
}
"""By the names that os-release has for a family of distributions."""


def compiler(*, needed: bool) -> Iterator[Finding]:
    """Look for a compiler; ``needed``: llama.cpp is not installed yet."""
    path = found()
    if path is None:
        if needed:
            message = "there is no C++ compiler, and llama.cpp has to be built"
            yield error("compiler", message, f"{installing()}, then install Forge again")
        else:
            yield ok("compiler", "none, and none is needed: llama.cpp is installed")
        return
    version = _first_line([path, "--version"])
    reason = trial(path, ())
    if reason is not None:
        message = f"{path} ({version}) can't build a program of C++17: {reason}"
        finding = error if needed else warning
        yield finding("compiler", message, f"{installing()}, or name another in CXX and CC")
        return
    lacking = [what for what, flags in FEATURES.items() if trial(path, flags) is not None]
    if lacking and needed and platform.system() == "Linux":
        message = f"{path} ({version}) builds C++17, without {' and '.join(lacking)}"
        yield warning("compiler", message, "use gcc 11 or clang 14, or a later one: CXX and CC")
    else:
        yield ok("compiler", f"{path} ({version}) builds C++17")


def found() -> str | None:
    """Return the path of the compiler that a build would take."""
    named = os.environ.get("CXX", "").split()
    for name in (*named[:1], "c++", "g++", "clang++"):
        path = shutil.which(name)
        if path is not None:
            return path
    return None


def trial(path: str, flags: tuple[str, ...]) -> str | None:
    """Build a small program with ``flags`` and run it; return why that failed, or None."""
    with tempfile.TemporaryDirectory(prefix="forge-doctor-") as folder:
        source, program = Path(folder, "trial.cpp"), Path(folder, "trial")
        source.write_text(SOURCE)
        build = [path, "-std=c++17", *flags, "-pthread", str(source), "-o", str(program)]
        return _failure(build) or _failure([str(program)])


def _failure(command: list[str]) -> str | None:
    """Return why a command failed, in one line; None if it did not."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError) as failure:
        return str(failure)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line]
    return (wrong or lines or [f"exit code {done.returncode}"])[0]


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S
        )
    except (OSError, subprocess.SubprocessError):
        return "version unknown"
    return done.stdout.strip().partition("\n")[0] or "version unknown"


def installing() -> str:
    """Return how a compiler is installed on this system."""
    if platform.system() == "Darwin":
        return "xcode-select --install"
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        told = {}
    families = [told.get("ID", ""), *told.get("ID_LIKE", "").split()]
    known = (PACKAGES[each] for each in families if each in PACKAGES)
    return next(known, "install a C and a C++ compiler and make with the system's packages")
