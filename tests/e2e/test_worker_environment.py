"""The environment in which real workers run: of the first one, and of its successor."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.support.server import ForgeServer, eventually, gone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def tunables(server: ForgeServer) -> list[bytes]:
    """Return what its only worker was told about glibc."""
    (pid,) = eventually(server.pids, "a worker runs")
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"PYTHONSAFEPATH=1" in lines
    return [line for line in lines if line.startswith(b"GLIBC_TUNABLES=")]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", b"glibc.malloc.hugetlb=1"),
        ("glibc.malloc.hugetlb=0", b"glibc.malloc.hugetlb=0"),
    ],
)
def test_workers_and_their_successors_ask_for_huge_pages(
    start_server: Start, said: str, expected: bytes
) -> None:
    server = start_server("--workers", "1", env={"GLIBC_TUNABLES": said})
    wanted = [b"GLIBC_TUNABLES=" + expected]
    assert tunables(server) == wanted
    (pid,) = server.pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(pid) and server.pids() not in ([], [pid]), "a successor runs")
    assert tunables(server) == wanted
