"""The parts of the scheduler's costs, and the pages about them."""

import asyncio
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scheduler.cost import count_comparisons, idle_share, measure
from bench.scheduler.policies import POLICIES

pytestmark = pytest.mark.usefixtures("unmeasured")
ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "bench" / "results" / "scheduler.md"
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def test_comparisons_per_pop_are_logarithmic() -> None:
    for n in (1000, 16_000):
        assert count_comparisons(n) == pytest.approx(math.log2(n), abs=1)


def test_costs_are_measured() -> None:
    """That they come out, not how large they are."""
    cost = measure(1000, None, idle_s=0.01)
    assert min(cost.push_ns, cost.push_top_ns, cost.pop_ns, cost.study_pass_ms) > 0
    assert min(cost.enter_ns, cost.next_ns) > 0
    assert cost.study_cpp_pass_ms is None
    assert asyncio.run(idle_share(10, 0.01)) >= 0


@pytest.mark.timeout(300)  # seconds on an idle machine, minutes beside other work
def test_quick_run_from_end_to_end(tmp_path: Path) -> None:
    """The command as users give it, in a process without coverage: half of the time."""
    reason = "the report needs the extra [bench]"
    pytest.importorskip("matplotlib", reason=reason)
    pytest.importorskip("rich", reason=reason)
    command = [sys.executable, "-m", "bench.scheduler", "--quick", "--out", str(tmp_path)]
    shown = subprocess.run(
        command, env={**os.environ, "COLUMNS": "160"}, capture_output=True, text=True, check=True
    ).stdout
    report = (tmp_path / "scheduler.md").read_text("utf-8")
    images = re.findall(r"!\[.*?\]\((.*?)\)", report)
    assert len(images) == 4
    for image in images:
        assert (tmp_path / image).read_bytes().startswith(b"\x89PNG")
    for policy in POLICIES:
        assert report.count(f"| {policy.name} |") == 5  # three traces, the order, the question
        assert policy.name in shown


def page_parts() -> tuple[str, str, str]:
    """The page before the section about the scheduler, that section, and what follows."""
    before, title, rest = PAGE.read_text("utf-8").partition("\n## Does the order hold?\n")
    section, next_, after = rest.partition("\n## ")
    return before + title, section, next_ + after


def with_measured_tables(section: str) -> str:
    """The section with its tables as they are in the results, which have the same first cells."""
    results = RESULTS.read_text("utf-8")
    for title in ("Waits: endless urgent", "Cost"):
        measured = results.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        (table,) = TABLE.findall(measured)
        header = table.partition("\n")[0]
        shown = [each for each in TABLE.findall(section) if each.startswith(header + "\n")]
        assert len(shown) == 1, f"the page does not show the table {title!r}"
        section = section.replace(shown[0], table)
    return section


def test_the_page_shows_what_was_measured() -> None:
    """To write it anew after a run: ``python -m tests.bench.test_scheduler_report``."""
    _, section, _ = page_parts()
    assert section == with_measured_tables(section)
    images = re.findall(r"!\[.*?\]\((.*?)\)", section)
    assert images
    assert all((PAGE.parent / image).exists() for image in images)


if __name__ == "__main__":
    before, section, after = page_parts()
    PAGE.write_text(before + with_measured_tables(section) + after, "utf-8")
