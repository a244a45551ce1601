"""The limit on open files: raised as far as needed, and told where it is too low."""

import subprocess
import sys

import pytest

from gateway.http.open_files import AUTO_CONNECTIONS, RESERVED, fitting

SOURCE = """
import logging, resource, sys
logging.basicConfig(format="%(message)s")
soft, hard, wanted = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_NOFILE, (int(soft), int(hard)))
from gateway.http.open_files import connections_allowed
print(connections_allowed(wanted if wanted == "auto" else int(wanted)))
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def allowed(soft: int, hard: int, wanted: int | str) -> tuple[int, tuple[int, int], str]:
    """Connections, limits and log of a process that began with these limits."""
    command = [sys.executable, "-c", SOURCE, str(soft), str(hard), str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, now_soft, now_hard = map(int, done.stdout.split())
    return found, (now_soft, now_hard), done.stderr


def test_raised_as_far_as_needed() -> None:
    assert allowed(200, 2000, 1000) == (1000, (1000 + RESERVED, 2000), "")
    assert allowed(1500, 2000, 1000) == (1000, (1500, 2000), "")


def test_a_limit_that_is_too_low() -> None:
    """An operator that asked for more is told; one that asked for nothing gets what there is."""
    found, limits, log = allowed(200, 1000, 5000)
    assert (found, limits) == (1000 - RESERVED, (1000, 1000))
    assert log == (
        "--max-connections is 5000, but the limit on open files (ulimit -n) is 1000: "
        f"no more than {1000 - RESERVED} connections are taken\n"
    )
    assert allowed(200, 1000, "auto") == (1000 - RESERVED, (1000, 1000), "")


@pytest.mark.parametrize("files", [1, 2, 64, RESERVED, 1024, AUTO_CONNECTIONS])
def test_something_is_always_left_for_both(files: int) -> None:
    assert files // 2 <= fitting(files) <= max(1, files - 1)
