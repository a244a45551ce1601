"""The simulation of many workers: that it is the real pool, and that its figures add up."""

from pathlib import Path

import pytest

from bench.scale import __main__ as command
from bench.scale.simulate import MIX, RATE_PER_WORKER, simulate

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_arrivals_are_served_and_go_where_their_prompts_are() -> None:
    outcome = simulate(4, warm_s=10, seconds=20)
    expected = 4 * RATE_PER_WORKER * outcome.seconds
    assert 0.7 * expected < outcome.requests < 1.3 * expected
    assert outcome.placements["prefix"] > outcome.placements["load"]
    assert 0.5 < outcome.tally.cached_tokens / outcome.tally.prompt_tokens < 1
    assert all(outcome.waits[priority] for priority in MIX)
    assert outcome.gateway_ns > outcome.placing_ns > 0


def test_a_simulation_is_the_same_each_time() -> None:
    """But for the CPU time."""
    one, two = (simulate(2, warm_s=2, seconds=5) for _ in range(2))
    assert one.waits == two.waits
    assert one.placements == two.placements


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", {1: (1.0, 2.0), 2: (1.0, 2.0)})
    command.main(["--quick", "--out", str(tmp_path)])
    page = (tmp_path / "scale.md").read_text("utf-8")
    assert "## What the gateway takes" in page
    assert page.count("\n| 2 |") == 2
