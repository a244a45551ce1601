"""Many connections: a small run against a real server; figures are for a longer one to say."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from rich.console import Console

from bench.connections.__main__ import Plan, run
from bench.connections.measure import Latency, Result
from bench.connections.report import row

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_a_small_run(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    run(Plan(connections=150, seconds=0.5), tmp_path, console)
    assert "streaming" in console.export_text()
    lines = (tmp_path / "connections.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in lines if "| 150 |" in line]
    assert rows == [["idle", "150", "0"], ["streaming", "150", "0"]], "somebody was forgotten"


def test_what_a_row_says() -> None:
    before, during = Latency(0.5, 2.0), Latency(1.0, 3.0)
    result = Result("idle", 1000, 1, 2.5, 50 * 2**20, 60 * 2**20, before, during)
    assert row(result) == [
        *("idle", "1,000", "1", "2.5", "50", "60", "10.2"),
        *("0.50 / 1.00", "2.00x", "2.00 / 3.00", "1.50x"),
    ]
