"""Tests of the patience of llama.cpp's threads, as its OpenMP tells it when it is loaded."""

import os
import subprocess
import sys

import pytest

from workers.llama.barriers import SPINS


def told(**environment: str) -> str:
    """Return the line about spinning of a process that loads llama.cpp as a worker does."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", "import workers.llama"],
        env={**ours, "OMP_DISPLAY_ENV": "verbose", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not lines:
        pytest.skip("this llama.cpp was not built with GNU OpenMP")
    return lines[0]


def test_threads_spin_briefly() -> None:
    assert f"'{SPINS}'" in told()


def test_the_environment_comes_first() -> None:
    assert "'77'" in told(GOMP_SPINCOUNT="77")
    assert "'0'" in told(OMP_WAIT_POLICY="passive")
