"""The tables of a run."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from rich.table import Table

from .experiment import CLIENTS, Result
from .mayhem import KINDS
from .recovery import Recovery
from .verdict import PAUSE_S

Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured; ``recoveries`` by what was done."""

    result: Result
    recoveries: dict[str, Recovery]


def summary(result: Result) -> list[Row]:
    """Return the account of what was survived and what was not, in words and numbers."""
    through = result.lived_through
    left = result.remains
    outcomes = result.outcomes
    return [
        *((KINDS[kind], str(count)) for kind, count in result.blows.most_common()),
        ("workers that died", f"{result.deaths}"),
        ("worker restarts", f"{result.restarts}"),
        ("requests", f"{len(outcomes):,}"),
        ("of these hung up by the client", f"{sum(o.left for o in outcomes):,}"),
        ("tokens in whole answers", f"{result.tokens:,}"),
        ("streams read to their end", f"{sum(through.values()):,}"),
        ("with one pause at a death", f"{through[1]:,}"),
        ("with two", f"{through[2]:,}"),
        ("with three or more", f"{sum(n for times, n in through.items() if times >= 3):,}"),
        ("**errors that a client saw**", f"**{len(result.errors)}**"),
        ("**texts, finish reasons or usages that differ**", f"**{len(result.mismatches)}**"),
        ("restarts that nobody caused", f"{result.unexplained}"),
        ("left busy, queued, running, parked",
         f"{left.busy}, {left.queued}, {left.running}, {left.parked}"),
        ("KV cells left in use", f"{left.cells}"),
        ("file descriptors more than at the beginning", f"{left.files}"),
        ("processes too many: before and after SIGTERM",
         f"{len(left.strangers)}, {len(result.survivors)}"),
        ("tracebacks and violated invariants in the log",
         f"{result.log.count('Traceback')}, {result.log.count('INVARIANT')}"),
    ]  # fmt: skip


def recovery_rows(recoveries: dict[str, Recovery]) -> list[tuple[str, ...]]:
    """(what was done, streams, p50 and longest pause, the median gap undisturbed), in seconds."""
    return [
        (
            name,
            str(len(found.pauses)),
            f"{median(found.pauses):.3f}",
            f"{max(found.pauses):.3f}",
            f"{median(found.gaps):.4f}",
        )
        for name, found in recoveries.items()
    ]


def tables(report: Report) -> list[Table]:
    """For a terminal."""
    first = Table("what", "how often", title="Chaos")
    for row in summary(report.result):
        first.add_row(*(cell.replace("**", "") for cell in row))
    second = Table("struck", "streams", "pause p50 s", "longest s", "usual gap s", title="Recovery")
    for cells in recovery_rows(report.recoveries):
        second.add_row(*cells)
    return [first, second]


def markdown(report: Report) -> str:
    """The report."""
    result = report.result
    kinds = Counter(outcome.request.kind for outcome in result.outcomes)
    mixed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    lines = [
        "# Workers that die", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}. {CLIENTS} clients for {result.plan.seconds:g} s on 2 workers x 4 "
        f"slots x 1 thread, an F32 copy of forge-tiny, seed {result.plan.seed}; "
        f"{result.plan.requests} different requests (three dialects, greedy and seeded sampling "
        "with penalties, stop strings, n = 2, three priorities with preemption, 1 to 1,200 "
        "tokens), each of which was first asked alone: every answer must have the same text, "
        f"finish reason and usage as that one. Asked were {mixed}. Who hung up must have seen the "
        "beginning of it.",
        "", "| | |", "|---|---:|",
    ]  # fmt: skip
    lines += [f"| {what} | {count} |" for what, count in summary(result)]
    lines += [
        "", f"A pause is a gap of more than {PAUSE_S:g} s between two tokens of a stream in which "
        "a worker died.", "",
        "## Time to recover", "",
        "The longest gap between two tokens of the struck worker's streams, from the last token of "
        "the old worker to the first of the next, in seconds. Another worker has free slots for "
        "them; after the only worker, its successor is started and loads the model first.", "",
        "| struck | streams | pause p50 | longest pause | usual gap |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    lines += [f"| {' | '.join(cells)} |" for cells in recovery_rows(report.recoveries)]
    if result.faults:
        lines += ["", "## Faults", "", *(f"- {fault}" for fault in result.faults)]
    return "\n".join([*lines, ""])
