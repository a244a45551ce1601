"""The soak: its arithmetic, and a small run against a real server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")
pytest.importorskip("matplotlib", reason="the benchmarks need the extra [bench]")


from rich.console import Console

from bench.processes import Memory
from bench.server import running
from bench.soak.__main__ import SHAPE, measure
from bench.soak.load import Sample, short_requests, slope

pytestmark = pytest.mark.usefixtures("unmeasured")

PROCESSES = ["gateway", "worker 0", "renderer 0", "worker 1", "renderer 1"]


def test_requests_are_reproducible_and_no_two_alike() -> None:
    first = list(short_requests(1000, 1))
    assert first == list(short_requests(1000, 1))
    assert len({request.prompt for request, _ in first}) == 1000
    assert len({(request.dialect, request.stream, request.n) for request, _ in first}) == 9
    assert 0.05 < sum(leave is not None for _, leave in first) / 1000 < 0.25


def test_the_slope_is_that_of_the_second_half() -> None:
    """Growth at the beginning is a process that warms up."""
    warming = [Sample(100 * n, {"x": Memory(rss=10 * n, pss=0, anonymous=5000)}) for n in range(10)]
    then = [Sample(1000 + 100 * n, {"x": Memory(100 + 2 * n, 0, 5000)}) for n in range(10)]
    assert slope(warming + then, "x", "rss") == pytest.approx(20)
    assert slope(warming + then, "x", "anonymous") == 0
    assert slope(warming, "x", "rss") == pytest.approx(100)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_small_run(tmp_path: Path) -> None:
    """Real server, real load, both files; what it measures is for a longer run to say."""
    console = Console(record=True, width=120)
    with running(*SHAPE) as server:
        server.wait_ready()
        found = measure(server, 60, tmp_path, console)
        assert found.errors == []
        assert found.samples[-1].served == 60
        assert found.samples[-1].memory.keys() == set(PROCESSES)
        assert server.stop() == 0
    assert "gateway" in console.export_text()
    rows = (tmp_path / "soak.md").read_text("utf-8").splitlines()
    named = [row.split("|")[1].strip() for row in rows if row.startswith("| ")]
    assert named == ["process", *PROCESSES]
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
