"""The report of forge tune: in a terminal, elsewhere, and as a picture."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli.tune import report
from gateway.cli.tune.plan import Result, Setting, Visit
from gateway.cli.tune.search import Found, SearchStage

FAST, SLOW = Setting(1, 2, 16, repack=False), Setting(2, 1, 8, repack=True)


@pytest.fixture
def found() -> Found:
    slow = Result(SLOW, [Visit(100.0, 10.0, 3 << 20, 64, {2: 20.0, 4: 30.0}, {32: 7.0})])
    fast = Result(FAST, [Visit(o, 9.0, 5 << 20, 64, {1: 8.0, 2: 40.0}) for o in (190.0, 210.0)])
    broken = Result(SLOW, failure="[too] little memory")
    return Found([SearchStage("shape", [slow, fast, broken], fast)], ["slots"])


def shown(found: Found, *, terminal: bool, width: int = 120) -> str:
    out = io.StringIO()
    report.show(found, Console(file=out, force_terminal=terminal, no_color=True, width=width))
    return out.getvalue()


def test_plain_lines(found: Found) -> None:
    text = shown(found, terminal=False)
    assert text.isascii() or "±" in text
    assert "1x2x16 *, mapped, auto, f16: output tok/s 200.0 ±5%; 2.00x; turns 2" in text
    assert "2x1x8, repacked, auto, f16: [too] little memory" in text
    assert "decode tok/s by streams, 2 x 1 repacked: 2: 20.0, 4: 30.0" in text
    assert "200.0 tokens a second, 2.00x of what the automatic shape gives: 12.5 to each" in text
    assert "\x1b" not in text


def test_a_terminal_gets_tables_and_bars(found: Found) -> None:
    text = shown(found, terminal=True)
    assert "1x2x16 *" in text
    assert "KV f16: [too] little memory" in text
    lines = [line for line in text.splitlines() if "ms a step" in line]
    assert len(lines) == 4
    bars = {line.split()[0]: line.count("█") for line in lines if "mapped" in line}
    assert bars == {"1": 8, "2": 40}


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.51, 1.0])
def test_bars_are_never_too_long(part: float) -> None:
    bar = report._bar(part)
    assert 1 <= len(bar) <= report.BAR


def test_picture(found: Found, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra [tune] is not installed")
    from gateway.cli.tune import plot

    plot.draw(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
