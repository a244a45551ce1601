"""The price of a constraint, in the smallest form of the experiment."""

from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from rich.console import Console

from bench.constrained.__main__ import SHAPE, WAYS, Plan, disturbances, measure, report
from bench.constrained.measure import BATCH, Gaps
from bench.server import running

pytestmark = pytest.mark.usefixtures("unmeasured")
RESULTS = Path(__file__).parent.parent.parent / "bench" / "results" / "constrained.md"


def test_a_small_run() -> None:
    plan = Plan(rounds=1, tokens=8)
    with running(*SHAPE) as server:
        server.wait_ready()
        speeds, pauses = measure(server, plan, Console(quiet=True))
    assert set(speeds) == set(WAYS)
    assert all(found.rate > 0 for rounds in speeds.values() for found in rounds)
    assert set(pauses) == set(disturbances(plan))
    text = report(speeds, pauses, plan)
    assert f"{BATCH} answers of 8 tokens" in text
    assert headings(text) == headings(RESULTS.read_text("utf-8")), "as the committed report"


def headings(text: str) -> list[str]:
    """The first cells of all tables."""
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]


def test_quantiles() -> None:
    gaps = Gaps([1.0, 2.0, 3.0])
    assert (gaps.quantile(0.5), gaps.longest) == (2.0, 3.0)
