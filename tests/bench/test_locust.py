"""locust and wrk, as people would call them, against a live server."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.server import Server, running

BENCH = Path(__file__).parents[2] / "bench"
pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running("--workers", "1", "--slots", "4", "--threads", "1") as found:
        found.wait_ready()
        yield found


def test_locust_loads_it(server: Server, tmp_path: Path) -> None:
    if find_spec("locust") is None:  # not imported: it makes gevent of all that tests use
        pytest.skip("needs the extra [load]")
    command = [
        sys.executable, "-m", "locust", "-f", str(BENCH / "locustfile.py"), "--headless",
        "--host", server.url, "--users", "18", "--spawn-rate", "18", "--run-time", "6s",
        "--stop-timeout", "30", "--csv", str(tmp_path / "found"), "--exit-code-on-error", "1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "found_stats.csv").open() as file:
        rows = {(row["Type"], row["Name"]): row for row in csv.DictReader(file)}
    for kind in ("POST", "TTFT", "ITL"):
        assert int(rows[kind, "/v1/chat/completions (normal)"]["Request Count"]) > 0
    assert int(rows["POST", "/infer (normal)"]["Request Count"]) > 0
    assert int(rows["POST", "/infer (batch, long prompt)"]["Request Count"]) > 0
    assert int(rows["", "Aggregated"]["Failure Count"]) == 0
    assert server.get("/metrics")["requests"]["failed"] == 0


def test_the_study_projects_line(server: Server) -> None:
    """Fewer connections and seconds, on another port; else it is as the study project has it."""
    wrk = shutil.which("wrk")
    if wrk is None:
        pytest.skip("wrk is not installed")
    line = f"{wrk} -t2 -c20 -d2s -s post.lua {server.url}/reverse"
    done = subprocess.run(line.split(), capture_output=True, text=True, timeout=60, cwd=BENCH)
    assert done.returncode == 0, done.stderr
    assert "Non-2xx" not in done.stdout
    assert "Socket errors" not in done.stdout
    assert float(done.stdout.partition("Requests/sec:")[2].split()[0]) > 0
