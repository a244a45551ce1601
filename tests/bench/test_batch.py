"""The experiment with batches: its arithmetic, and a small run against a real server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")

from rich.console import Console

from bench.batch.__main__ import Found, Plan, counted, measure
from bench.batch.load import Look, bodies, growth, lines, poisson
from gateway.config.config import EMBEDDED_MODEL

pytestmark = pytest.mark.usefixtures("unmeasured")


def test_requests_are_reproducible_and_share_nothing() -> None:
    first = list(bodies(50, 8, "a"))
    assert first == list(bodies(50, 8, "a"))
    texts = [body["messages"][0]["content"] for body in first]
    assert len({text[:6] for text in texts}) > 40
    parsed = [json.loads(line) for line in lines(first)]
    assert [line["body"] for line in parsed] == first
    assert len({line["custom_id"] for line in parsed}) == 50


def test_arrivals_are_reproducible() -> None:
    assert poisson(5, 20, "a") == poisson(5, 20, "a")
    assert poisson(1e-9, 20, "a") == [10]


def test_growth_is_that_of_the_second_half() -> None:
    looks = [Look(at, 10_000 if at < 500 else 20_000 + at, 1.0) for at in range(0, 1000, 50)]
    assert growth(looks) == pytest.approx(1000)
    assert growth([Look(5, 1, 1.0)] * 9) == 0.0
    assert growth([]) == 0.0


def test_the_allowance_is_half_more_and_a_step() -> None:
    found = Found("m", Plan(10, 8, 1, 100, 1.0, 1), loop_s=[2.0], batch_s=[2.5])
    found.alone_s, found.looks = [0.1, 0.4], [Look(0, 0, 20.0)]
    assert found.speed == pytest.approx(0.8)
    assert found.allowed_s() == pytest.approx(0.62)


def test_a_counter_is_read() -> None:
    text = "# HELP a_total x\n# TYPE a_total counter\nab_total 3.0\na_total 2.0\n"
    assert counted(text, "a_total") == 2


def test_a_small_run(tmp_path: Path) -> None:
    """Real server, real batches; what it measures is for a longer run to say."""
    plan = Plan(lines=20, tokens=8, rounds=1, behind=60, chats_s=1, settled=4)
    console = Console(record=True, width=120)
    found = asyncio.run(measure(EMBEDDED_MODEL, plan, tmp_path, console))
    assert len(found.alone_s) == len(found.beside_s)
    assert "batch beside closed loop" in console.export_text()
    text = (tmp_path / "batch-forge-tiny.md").read_text("utf-8")
    assert text.count("\n| ") >= 11
