"""Tests of how threads wait at barriers: what GNU OpenMP is told, and the idle team."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.server import eventually
from workers.llama import barriers
from workers.llama.barriers import LONG, SHORT, IdleTeam, Times, passed


def told(program: str, **environment: str) -> str:
    """Return the line about spinning of a process that loads llama.cpp as a worker does."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**ours, "OMP_DISPLAY_ENV": "verbose", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not lines:
        pytest.skip("this llama.cpp was not built with GNU OpenMP")
    return lines[0]


LOADED = "import workers.llama"
UNCOUNTED = """
from pathlib import Path
Path.glob = lambda path, pattern: iter(())
import workers.llama
"""


def test_threads_may_spin_long_where_the_kernel_counts_their_waiting() -> None:
    assert f"'{LONG if barriers.times() else SHORT}'" in told(LOADED)


def test_threads_spin_briefly_where_nothing_is_counted() -> None:
    assert f"'{SHORT}'" in told(UNCOUNTED)


def test_the_environment_comes_first() -> None:
    assert "'77'" in told(LOADED, GOMP_SPINCOUNT="77")
    assert "'0'" in told(LOADED, OMP_WAIT_POLICY="passive")


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def same(number: int) -> bool:
    return threads() == number


@pytest.mark.skipif(barriers.loaded_openmp() is None, reason="llama.cpp has no GNU OpenMP here")
def test_an_idle_team_begins_and_ends() -> None:
    library = barriers.loaded_openmp()
    assert library is not None
    for _ in range(3):
        before = threads()
        team = IdleTeam(library, 5)
        assert threads() == before + 5
        team.end()
        eventually(partial(same, before))


def test_times_of_threads_that_began_or_ended_are_no_nonsense() -> None:
    before: Times = {"1": (5_000_000_000, 1_000_000_000), "2": (9_000_000_000, 0)}
    after: Times = {"1": (6_000_000_000, 1_500_000_000), "3": (250_000_000, 0)}
    assert passed(before, after) == (1.25, 0.5)
