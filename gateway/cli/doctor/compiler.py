"""The compiler: is there one that can build llama.cpp on this machine?"""

import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
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
    command = found()
    if command is None:
        if needed:
            message = "there is no C++ compiler, and llama.cpp has to be built"
            yield error("compiler", message, f"{installing()}, then install Forge again")
        else:
            yield ok("compiler", "none, and none is needed: llama.cpp is installed")
        return
    if needed:
        yield from temporary_folder()
    name = f"{shlex.join(command)} ({_first_line([*command, '--version'])})"
    reason = trial(command, ())
    if reason is not None:
        message = f"{name} can't build a program of C++17: {reason}"
        finding = error if needed else warning
        yield finding("compiler", message, f"{installing()}, or name another in CXX and CC")
        return
    lacking = [what for what, flags in FEATURES.items() if trial(command, flags) is not None]
    if lacking and needed and platform.system() == "Linux":
        message = f"{name} builds C++17, without {' and '.join(lacking)}"
        yield warning("compiler", message, "use gcc 11 or clang 14, or a later one: CXX and CC")
    else:
        yield ok("compiler", f"{name} builds C++17")


def found() -> list[str] | None:
    """Return the compiler that a build would take: its path, and arguments that CXX has for it."""
    named = _named(os.environ.get("CXX", ""))
    for program, *arguments in (named, ["c++"], ["g++"], ["clang++"]):
        path = shutil.which(program)
        if path is not None:
            return [path, *arguments]
    return None


def _named(text: str) -> list[str]:
    """Return the command in CXX: ``ccache g++``, or a path with spaces in it."""
    if shutil.which(text) is not None:
        return [text]
    try:
        return shlex.split(text) or [""]
    except ValueError:  # a quotation without its end
        return text.split()


def temporary_folder() -> Iterator[Finding]:
    """Look if programs may be run in the folder for temporary files, where pip builds."""
    advice = "set TMPDIR to a folder on another file system while Forge is installed"
    try:
        folder = tempfile.gettempdir()
        if not _may_run(folder):
            message = f"{folder} is mounted noexec: programs that a build makes can't be run there"
            yield warning("compiler", message, advice)
    except OSError as failure:
        yield error("compiler", f"no folder for temporary files can be written: {failure}", advice)


def _may_run(folder: str) -> bool:
    """Return whether programs in a folder may be run; raises OSError if it can't be written."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.fchmod(file.fileno(), 0o700)
        return os.access(file.name, os.X_OK)


def trial(command: Sequence[str], flags: tuple[str, ...]) -> str | None:
    """Build a small program with ``flags`` and run it; return why that failed, or None.

    Where the system lets no program be run, a program that is built is enough.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="forge-doctor-") as folder:
            source, program = Path(folder, "trial.cpp"), Path(folder, "trial")
            source.write_text(SOURCE)
            build = [*command, "-std=c++17", *flags, "-pthread", str(source), "-o", str(program)]
            reason = _failure(build)
            return reason if reason or not _may_run(folder) else _failure([str(program)])
    except OSError as failure:
        return str(failure)


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
