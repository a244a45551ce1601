"""The cost of captures: a small run; figures are for a longer one to say."""

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from bench.capturing.__main__ import WAYS, run


def test_a_small_run() -> None:
    lines = run(1, 5).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [way.name for way in WAYS]
