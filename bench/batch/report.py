"""The report of a run."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from bench.overload.measure import percentile

from .load import growth

if TYPE_CHECKING:
    from .__main__ import Found


def rows(found: Found) -> list[tuple[str, str, str]]:
    """(what, measured, allowed) of every figure."""
    plan, count = found.plan, found.plan.rounds * found.plan.lines
    alone, beside = percentile(found.alone_s, 0.99), percentile(found.beside_s, 0.99)
    half = (percentile(found.alone_s, 0.5), percentile(found.beside_s, 0.5))
    last = found.looks[-1]
    return [
        ("requests of a closed loop, per second", f"{found.capacity:.2f}", ""),
        ("lines of a batch, per second", f"{count / sum(found.batch_s):.2f}", ""),
        ("batch beside closed loop", f"{found.speed:.3f}x", ">= 0.95x"),
        ("first token of a chat alone, p50 / p99, s", f"{half[0]:.3f} / {alone:.3f}", ""),
        ("beside a batch", f"{half[1]:.3f} / {beside:.3f}", f"p99 <= {found.allowed_s():.3f}"),
        ("a step beside a batch, s", f"{found.step_s:.3f}", ""),
        ("p99 beside a batch over alone", f"{beside / alone:.2f}x", "1.5x and a step"),
        ("spare sequences parked for chats", f"{found.preemptions}", ""),
        (f"lines of {plan.behind:,} done meanwhile", f"{last.completed:,}", ""),
        ("gateway's memory before it, MiB", f"{found.idle_kib / 1024:.1f}", ""),
        ("at the end", f"{last.anonymous_kib / 1024:.1f}", "flat"),
        ("growth in the second half, KiB per 1,000 lines", f"{growth(found.looks):+.1f}", ""),
    ]


def table(found: Found) -> Table:
    """The figures for a terminal."""
    shown = Table("what", "measured", "allowed")
    for row in rows(found):
        shown.add_row(*row)
    return shown


def markdown(found: Found) -> str:
    """The report."""
    plan = found.plan
    text = [
        "# Batches", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}, {found.model}, one worker. Lines of {plan.tokens} tokens, whose "
        f"prompts share nothing: {plan.lines} in each of {plan.rounds} rounds through "
        "/v1/batches, and as a closed loop of as many users as a batch has lines in flight, on "
        f"servers of their own. Then {len(found.alone_s)} chats of the same size at 0.3 of that "
        f"capacity, alone and beside a batch of {plan.behind:,} lines.", "",
        "| what | measured | allowed |", "|---|---:|---:|",
    ]  # fmt: skip
    text += [f"| {' | '.join(row)} |" for row in rows(found)]
    return "\n".join([*text, ""])


def write(found: Found, out: Path) -> None:
    """batch.md."""
    (out / f"batch-{found.model.lower()}.md").write_text(markdown(found), encoding="utf-8")
