"""Facts about processes, as Linux tells them in /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One line of a process list. ``state`` is a letter: S sleeps, T is stopped, Z a zombie."""

    pid: int
    parent: int
    state: str
    command: str


def processes() -> Iterator[Process]:
    """All processes that can be seen now."""
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (found := process(int(folder.name))) is not None:
            yield found


def process(pid: int) -> Process | None:
    """None if there is none, not even a zombie."""
    with contextlib.suppress(OSError):
        # The fields after the command, which is in parentheses and may hold anything.
        fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ")
        return Process(pid, int(fields[1]), fields[0], command.decode("utf-8", "replace"))
    return None


def children(pid: int) -> list[Process]:
    return [found for found in processes() if found.parent == pid]


def with_variable(assignment: str) -> list[Process]:
    """All processes with ``NAME=value`` in their environment: children inherit it, however far.

    Zombies have no environment any more.
    """
    wanted, found = assignment.encode(), []
    for candidate in processes():
        with contextlib.suppress(OSError):  # it ended, or is somebody else's
            if wanted in (PROC / str(candidate.pid) / "environ").read_bytes().split(b"\0"):
                found.append(candidate)
    return found


def open_files(pid: int) -> int:
    """Return the number of file descriptors it holds. Raises OSError if it is gone."""
    return len(os.listdir(PROC / str(pid) / "fd"))


def cpu_seconds(pid: int) -> float:
    """CPU time of all its threads so far, user and system. Raises OSError if it is gone."""
    fields = (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_us(pid: int) -> float:
    """CPU time of its threads that live, in microseconds, exact where the above has ticks of 10 ms.

    Raises OSError if it is gone, or if this kernel does not say.
    """
    threads = (PROC / str(pid) / "task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1000


@dataclass(frozen=True, slots=True)
class Memory:
    """In KiB."""

    rss: int
    pss: int
    """Proportional: a page that several share counts in parts. It moves with whoever shares."""
    anonymous: int
    """Memory that it allocated itself."""


def memory(pid: int) -> Memory:
    """Return the memory that it holds resident. Raises OSError if it is gone."""
    lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    fields = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return Memory(fields["Rss"], fields["Pss"], fields["Anonymous"])
