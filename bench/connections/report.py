"""The table of a run."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from .measure import Result

COLUMNS = (
    "kind", "number", "failed", "open in s", "MiB without", "MiB with", "KiB each",
    "p50 ms without / with", "ratio", "p99 ms without / with", "ratio",
)  # fmt: skip


def row(r: Result) -> list[str]:
    """One line of the table."""
    a, b = r.before, r.during
    return [
        r.kind, f"{r.connections:,}", str(r.failed), f"{r.opening_s:.1f}",
        f"{r.rss_before / 2**20:.0f}", f"{r.rss / 2**20:.0f}", f"{r.each_kib:.1f}",
        f"{a.p50:.2f} / {b.p50:.2f}", f"{b.p50 / a.p50:.2f}x",
        f"{a.p99:.2f} / {b.p99:.2f}", f"{b.p99 / a.p99:.2f}x",
    ]  # fmt: skip


def table(results: list[Result]) -> Table:
    """For a terminal."""
    shown = Table(*COLUMNS)
    for result in results:
        shown.add_row(*row(result))
    return shown


def markdown(results: list[Result]) -> str:
    """The report."""
    lines = [
        "# Many connections", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}; one gateway process, one worker of one slot, forge-tiny. The "
        "connections belong to one other process, the probes of `GET /health` to a third, all on "
        "the same machine. *idle*: asked `GET /health` once, and asks again at the end. "
        "*streaming*: a chat stream that waits in the queue, has its headers and gets a comment "
        "every five seconds; at the end each must be served. *Without* is the same server before "
        "they came, with the slot as busy. Memory is the gateway's resident set, latency that of "
        "`GET /health`. *Failed* must be none.", "",
        f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 1)}",
        *(f"| {' | '.join(row(result))} |" for result in results), "",
    ]  # fmt: skip
    return "\n".join(lines)


def write(results: list[Result], out: Path) -> None:
    """connections.md."""
    (out / "connections.md").write_text(markdown(results), encoding="utf-8")
