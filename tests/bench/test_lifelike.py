"""The lifelike suite in its smallest form, against real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich", reason="the benchmarks need the extra [bench]")
pytest.importorskip("matplotlib", reason="the benchmarks need the extra [bench]")

from bench.serving.__main__ import main
from bench.serving.earlier import Unlike, earlier
from bench.serving.lifelike import EQUAL, Lifelike, resized, sittings
from bench.serving.settings import Settings
from bench.serving.suites import SUITES

pytestmark = pytest.mark.usefixtures("unmeasured")
ROOT = Path(__file__).parent.parent.parent
SMALLEST = Lifelike(
    rounds=1, chat=((2, 1),), long=((1, 1),), mixed=(), agents=((2, 1),), turns=2, batch=((2, 1),),
    goodput=2,
)  # fmt: skip


def test_each_workload_has_a_slot_for_each_client() -> None:
    settings = Settings(Path("m"), 32, 32_768, 2, 512)
    for copies in (False, True):
        found = sittings(Lifelike(), settings, 8192, copies=copies)
        names = [work.name for sitting in found for work in sitting.workloads]
        edits = ["editing: 1 client", "editing: 4 clients"] * copies
        assert names == [
            "chat: 1 client", "chat: 8 clients", "chat: 16 clients", "long: 8 clients",
            "mixed: 8 clients", "agents: 6 clients", *edits, "batch: 32 clients",
        ]  # fmt: skip
        for name, sitting in zip(names, found, strict=True):
            assert sitting.settings.slots == int(name.split()[1])
            assert sitting.settings.drafts == name.startswith("editing")
            (work,) = sitting.workloads
            assert (work.goodput is not None) == (
                name in {"chat: 8 clients", "chat: 16 clients", "agents: 6 clients"}
            )
            assert (work.closed, work.tokens) == (
                (32, EQUAL.tokens.most) if name.startswith("batch") else (0, 0)
            )


def test_a_plan_with_other_numbers_of_conversations() -> None:
    """All kinds have them, and the numbers of clients stay."""
    found = resized(Lifelike(), 9)
    assert found.chat == ((1, 9), (8, 9), (16, 9))
    assert found.batch == ((32, 9),)
    for sizes in (found.long, found.mixed, found.agents, found.editing):
        assert {each for _, each in sizes} == {9}
    assert (found.turns, found.goodput) == (Lifelike().turns, Lifelike().goodput)


def test_the_short_form_has_all_kinds() -> None:
    kinds = {field for field in Lifelike.__slots__ if getattr(SUITES["lifelike"].quick, field)}
    assert kinds == {*Lifelike.__slots__}


def small_run(out: Path, *options: str) -> None:
    """Forge alone, since the peer is missing, and a second Forge from a checkout beside it."""
    main(
        [
            "--suite", "lifelike", "--model", "embedded", "--llama-bin", str(out),
            "--systems", "forge,llama-server", "--beside", f"again: @{ROOT} --workers 2",
            "--ctx", "2048", "--out", str(out), *options,
        ],
        SMALLEST,
    )  # fmt: skip


@pytest.mark.timeout(300)  # seconds on an idle machine, minutes beside other work
def test_a_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_run(tmp_path)
    text = (tmp_path / "lifelike-embedded.md").read_text("utf-8")
    told = (tmp_path / "lifelike-embedded.json").read_text("utf-8")
    assert f"llama-server ({tmp_path} has no llama-server" in text
    assert "No editing: " in text
    assert str(ROOT) not in json.dumps(json.loads(told)["options"])
    found = json.loads(told)["workloads"]
    assert [*found] == [
        "chat: 2 clients", "long: 1 client", "agents: 2 clients", "batch: 2 clients",
    ]  # fmt: skip
    for workload, systems in found.items():
        assert [*systems] == ["forge", "again"]
        (mine,), (other,) = (systems[name]["rounds"] for name in systems)
        assert mine["errors"] == other["errors"] == 0, workload
        for figure in ("requests", "tokens"):
            assert mine[figure] == other[figure], "the same was asked of both"
        if "agents" not in workload:  # whose prompts hold the answers
            assert mine["prompt_tokens"] == other["prompt_tokens"]
        assert 0 <= mine["repeated_share"] <= 1
    (agents,) = found["agents: 2 clients"]["forge"]["rounds"]
    assert (agents["requests"], agents["cached_share"] > 0.3) == (4, True)
    sought = {name for name, systems in found.items() if "goodput" in systems["forge"]["median"]}
    assert sought == {"chat: 2 clients", "agents: 2 clients"}

    more_rounds(tmp_path, found, capsys)


def more_rounds(out: Path, before: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Another run adds to the report, with prompts of its own; but not what is unlike it."""
    with pytest.raises(SystemExit):
        small_run(out, "--add", "--ctx", "4096")
    assert "lifelike-embedded.json has another ctx: 2048, and now 4096" in capsys.readouterr().err
    small_run(out, "--add", "--workloads", "chat", "--no-goodput")
    told = json.loads((out / "lifelike-embedded.json").read_text("utf-8"))
    (whole,) = told["earlier_runs"]
    assert (whole["options"]["workloads"], told["options"]["workloads"]) == (None, ["chat"])
    found = told["workloads"]
    chat = found.pop("chat: 2 clients")
    first = before.pop("chat: 2 clients")
    assert found == before
    for name, system in chat.items():
        old, new = system["rounds"]
        assert [old] == first[name]["rounds"]
        assert new["prompt_tokens"] != old["prompt_tokens"]
        assert "goodput" not in new
        assert system["median"]["goodput"] == old["goodput"]
    assert "1-2 rounds" in (out / "lifelike-embedded.md").read_text("utf-8")


def test_what_is_no_report_is_not_added_to(tmp_path: Path) -> None:
    report = tmp_path / "lifelike-m.json"
    assert earlier(report, {}) == ({}, [])
    for text in ("", "[]", "{}", '{"commit": "", "machine": {}, "versions": {}, "options": {}}'):
        report.write_text(text)
        with pytest.raises(Unlike, match=r"lifelike-m\.json is no report of this program"):
            earlier(report, {})
