"""The cost of captures: a small run; figures are for a longer one to say."""

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from bench.capturing.__main__ import WAYS, run


def test_a_small_run() -> None:
    lines = [line for line in run(1, 5).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row[0] for row in rows] == [way.name for way in WAYS]
    assert all(float(row[1]) > 0 < float(row[4]) for row in rows)
