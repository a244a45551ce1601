"""The overload experiment: its arithmetic, and a small run against a real server."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")
pytest.importorskip("matplotlib", reason="the benchmarks need the extra [bench]")


from rich.console import Console

from bench.overload.__main__ import Plan, measure
from bench.overload.load import SHARES, Outcome, poisson
from bench.overload.measure import lead, percentile, steady, summarise

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_arrivals_are_reproducible_and_as_many_as_asked() -> None:
    first = poisson(100, 50, "a")
    assert first == poisson(100, 50, "a")
    assert first != poisson(100, 50, "b")
    assert len(first) == pytest.approx(5000, rel=0.1)
    assert all(a.at_s <= b.at_s < 50 for a, b in itertools.pairwise(first))
    counts = Counter(arrival.class_ for arrival in first)
    for class_, share in SHARES.items():
        assert counts[class_] / len(first) == pytest.approx(share, abs=0.03)


def test_percentiles() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([7.0], 0.99) == 7
    assert math.isnan(percentile([], 0.5))


def served(class_: str, arrived: float, ttft: float) -> Outcome:
    return Outcome(class_, arrived, 200, "", ttft, arrived + ttft + 1)


def test_nobody_may_be_forgotten() -> None:
    outcomes = [
        served("urgent", 0, 0.1),
        Outcome("urgent", 1, 429, "queue_full"),
        Outcome("urgent", 2, 200, "displaced"),
        Outcome("urgent", 3),
    ]
    summary = summarise(outcomes)["urgent"]
    assert (summary.arrived, summary.served, summary.lost) == (4, 1, 1)
    assert summary.refused == {"queue_full": 1, "displaced": 1}
    assert steady(outcomes, 2) == outcomes[2:]


def test_lead_compares_who_began_at_the_same_time() -> None:
    outcomes = [served("urgent", t, 0.5) for t in range(10, 20)]
    outcomes += [served("normal", t - 5.0, 5.5) for t in range(10, 20)]
    points = lead(outcomes, 1.0)
    assert len(points) == 10
    assert all(value == pytest.approx(5.0) for _, value in points)


def test_a_small_run(tmp_path: Path) -> None:
    """Real server, real load, all files; what it measures is for a longer run to say."""
    plan = Plan(rate=5.0, tokens=64, calibrate_s=1, pilot_s=2, rounds=1, seconds=2, lead_rate=5.0,
                lead_seconds=2)  # fmt: skip
    console = Console(record=True, width=120)
    asyncio.run(measure(plan, tmp_path, console))
    assert "urgent" in console.export_text()
    text = (tmp_path / "overload.md").read_text("utf-8")
    rows = [
        line.split("|") for line in text.splitlines() if "| FIFO |" in line or "| Forge |" in line
    ]
    assert len(rows) == 6
    assert {row[6].strip() for row in rows} == {"0"}, "somebody was forgotten"
    for image in ("overload-waits.png", "overload-lead.png"):
        assert (tmp_path / image).read_bytes().startswith(b"\x89PNG")
