"""The spins of llama.cpp's threads at a barrier, long or short. Imported before llama.cpp is.

A step has some hundred barriers, and how long a thread of GNU OpenMP spins there before it sleeps
is read from the environment once, when the library is loaded. Neither a long nor a short time is
right: SmolLM2-135M on two cores of a busy host takes 12 ms a token with long spins and 19 with
short ones; beside another busy program 500 and 40. So it is switched while the worker runs, by the
one thing that the library looks at each time: while a process has more of its threads than there
are cores, a thread spins some microseconds only, whatever the environment says. The governor makes
that so with a team of idle threads, and ends it when :mod:`workers.planning.spin_policy` says that
the cores are free.
"""

import contextlib
import ctypes
import os
import threading
import time
from pathlib import Path

from workers.planning.spin_policy import SpinPolicy

LONG = "300000"
"""Spins of a patient thread: about a millisecond. The library's own default."""
SHORT = "1000"
"""Spins where nothing tells whether the cores are free; the library's own number of a crowded
process."""
PAUSE_S = 0.25
"""Seconds between two looks at the threads while they compute. A look takes a millisecond of a core
that they want."""
TASKS = Path("/proc/self/task")

Times = dict[str, tuple[int, int]]
"""By thread: nanoseconds on a core, and waiting for one."""


def times() -> Times:
    """Return what the kernel counts of this process's threads; empty where it counts nothing."""
    found = Times()
    for task in TASKS.glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError):  # a thread may end meanwhile
            ran, waited, _ = map(int, task.read_text().split())
            found[task.parent.name] = ran, waited
    return found if any(ran for ran, _ in found.values()) else {}


def set_spins() -> bool:
    """Set what GNU OpenMP reads when it is loaded; return whether spins may be governed.

    What the environment says stays, and then nothing is governed.
    """
    if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        return False
    counted = bool(times())
    os.environ["GOMP_SPINCOUNT"] = LONG if counted else SHORT
    return counted


class IdleTeam:
    """Threads of GNU OpenMP that do nothing, so that the process has more than there are cores."""

    def __init__(self, library: ctypes.CDLL, size: int) -> None:
        self._over = threading.Event()
        self._ready = threading.Event()
        arguments = (library, size)
        self._leader = threading.Thread(
            target=self._lead, args=arguments, name="idle-team", daemon=True
        )
        self._leader.start()
        self._ready.wait()

    def _lead(self, library: ctypes.CDLL, size: int) -> None:
        """Lead the team until :meth:`end`; its threads end with this one."""
        nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
        library.GOMP_parallel(nothing, None, ctypes.c_uint(size), ctypes.c_uint(0))
        self._ready.set()
        self._over.wait()

    def end(self) -> None:
        """End its threads."""
        self._over.set()
        self._leader.join()


class Governor:
    """Look at the threads while they compute, and let them spin long where cores are free."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._policy = SpinPolicy()
        self._team: IdleTeam | None = None
        self._computing = threading.Event()
        self._throttle(not self._policy.spins_long)
        threading.Thread(target=self._watch, name="barriers", daemon=True).start()

    def computing(self) -> None:
        """Say that a step begins."""
        self._computing.set()

    def _watch(self) -> None:
        """Look again and again, but sleep while nothing is computed."""
        while True:
            self._computing.wait()
            self._computing.clear()
            began, before = time.monotonic(), times()
            time.sleep(PAUSE_S)
            after, seconds = times(), time.monotonic() - began
            ran, waited = passed(before, after)
            self._throttle(not self._policy.look(seconds, ran, waited))

    def _throttle(self, wanted: bool) -> None:
        """Have an idle team, or none."""
        if wanted and self._team is None:
            self._team = IdleTeam(self._library, len(os.sched_getaffinity(0)) + 1)
        elif not wanted and self._team is not None:
            self._team.end()
            self._team = None


def passed(before: Times, after: Times) -> tuple[float, float]:
    """Return the seconds that threads ran and waited between two looks."""
    none = (0, 0)
    ran = sum(now[0] - before.get(task, none)[0] for task, now in after.items())
    waited = sum(now[1] - before.get(task, none)[1] for task, now in after.items())
    return ran / 1e9, waited / 1e9


def loaded_openmp() -> ctypes.CDLL | None:
    """Return the GNU OpenMP that llama.cpp was linked to, None if it was not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            path = line.rpartition(" ")[2]
            if "/libgomp" in path:
                return ctypes.CDLL(path)
    return None


_governed = set_spins()
_governor: Governor | None = None


def govern(threads: int) -> None:
    """Begin to govern the spins of this process, if a step has so many threads that any wait."""
    global _governor
    if threads > 1 and _governed and _governor is None and (library := loaded_openmp()):
        _governor = Governor(library)


def computing() -> None:
    """Say that a step begins."""
    if _governor is not None:
        _governor.computing()
