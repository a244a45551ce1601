"""The gateway's own costs: a small run of everything; figures are for a longer one to say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from rich.console import Console

from bench.gateway.__main__ import Plan, run
from bench.gateway.client import Found
from bench.gateway.measure import CHAT, ECHO, Rate, Results
from bench.gateway.report import closed

pytestmark = [
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.timeout(300)  # seconds on an idle machine, minutes beside other work
def test_a_small_run(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    run(Plan(1, 0.2, (2,), 10, 150, 10, 0.1, 5), tmp_path, console)
    text = (tmp_path / "gateway.md").read_text("utf-8")
    tables = [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()]
        for part in text.split("\n\n")
        if part.startswith("|")
    ]
    assert len(tables) == 8
    for head, _, *rows in tables:
        if "failed" in head:
            assert [row[head.index("failed")] for row in rows] == ["0"] * len(rows)
    ways = [row[0] for row in tables[0][2:]]
    assert ways == ["bare echo", "`/v1/chat/completions`", "`/infer`"]
    assert "150" in tables[3][2], "as many streams as were asked for"
    *parts, together = (float(row[-1]) for row in tables[6][2:])
    assert sum(parts) == pytest.approx(together, abs=0.1), "the rooms add up to the request"
    assert together == float(next(row[1] for row in tables[5] if row[0].startswith("all of the a")))


def test_ratios_are_those_of_one_round() -> None:
    """A round in which the machine is twice as slow says the same."""
    results = Results()
    for slow in (1, 2, 4):
        echo = Rate(Found(1000, 0, 1.0 * slow, 1.0, 2.0), 100.0)
        forge = Rate(Found(250, 0, 1.0 * slow, 4.0, 8.0), 250.0)
        results.closed.setdefault((ECHO, 1), []).append(echo)
        results.closed.setdefault((CHAT, 1), []).append(forge)
    row = next(line for line in closed(results) if "chat" in line)
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        *("1", "125", "0.25x", "4.00", "8.00", "250", "2.50x", "0"),
    ]
