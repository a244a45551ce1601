"""The machine's means to compute."""

import contextlib
import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

SYSTEM = Path("/")


class Machine(NamedTuple):
    """The facts that decide how fast a model runs, beside the model."""

    cpu: str
    cores: int
    """Number of cores that this process may use."""
    llama_cpp_python: str
    build: str = ""
    """See :func:`llama_cpp_build`; "": not known, as in files of earlier versions."""


def this_machine() -> Machine:
    """Without loading llama.cpp."""
    return Machine(cpu_model(), available_cores(), version("llama-cpp-python"), llama_cpp_build())


def llama_cpp_build(environment: Mapping[str, str] = os.environ) -> str:
    """Return a mark that tells builds of one version apart; "" if there are no libraries.

    With other instructions they repack other weights, and are as fast as these are. The names and
    sizes of the libraries are those of a build wherever, and whenever, it is installed.
    """
    found = importlib.util.find_spec("llama_cpp")
    usual = Path(found.origin).parent / "lib" if found is not None and found.origin else Path()
    folder = Path(environment.get("LLAMA_CPP_LIB_PATH", usual))
    try:
        libraries = sorted((file.name, file.stat().st_size) for file in folder.glob("lib*"))
    except OSError:
        return ""
    return hashlib.sha256(repr(libraries).encode()).hexdigest()[:12] if libraries else ""


def available_cores(root: Path = SYSTEM) -> int:
    """Cores this process may use: its affinity and its container's quota, where the system tells.

    Half a core of a quota counts for nothing: threads that wait for each other would all stand
    still whenever it is used up. ``root`` is for tests.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, int(cpu_quota(root) or cores)))


def cpu_quota(root: Path = SYSTEM) -> float | None:
    """CPUs that control groups (version 2) let this process use; None: no limit is known."""
    quotas = list[float]()
    for folder in control_groups(root):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            quotas.append(int(quota) / int(period))  # "max" is no number
    return min(quotas, default=None)


def control_groups(root: Path = SYSTEM) -> list[Path]:
    """The folders of this process's control group (version 2) and of those around it."""
    with contextlib.suppress(OSError, ValueError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
        group = next((line[3:] for line in lines if line.startswith("0::")), None)
        around = () if group is None else (Path(group), *Path(group).parents)
        return [root / "sys/fs/cgroup" / str(folder).lstrip("/") for folder in around]
    return []


def cpu_model(root: Path = SYSTEM) -> str:
    """The processor's name; "unknown" where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        if done.stdout.strip():
            return done.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def total_memory(limit: Path = SYSTEM / "sys/fs/cgroup/memory.max") -> int:
    """Bytes of memory that the machine has, or that the container may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(memory, int(limit.read_text()))
    except (OSError, ValueError):  # there is none, or it says "max"
        return memory


def memory_available(root: Path = SYSTEM) -> int | None:
    """Bytes that may be allocated without hurting others; None where the system does not tell.

    The limits of control groups count, also where the machine has more.
    """
    rooms = list[int]()
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                rooms.append(1024 * int(line.split()[1]))
    for folder in control_groups(root):
        with contextlib.suppress(OSError, ValueError):
            limit = int((folder / "memory.max").read_text())  # "max" is no number
            used = int((folder / "memory.current").read_text())
            rooms.append(max(0, limit - used + _cached(folder)))
    return min(rooms, default=None)


def _cached(group: Path) -> int:
    """Bytes of files that a group has in memory and would lose first."""
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    return 0
