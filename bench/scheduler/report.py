"""Results as tables: the same ones in the terminal (rich) and in Markdown."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table as RichTable

from bench.scheduler.cost import BATCHES, PASSES, Cost, growth, share
from bench.scheduler.measure import (
    STARVED_S,
    Waits,
    largest_lead,
    overtaken_in_class,
    summarise,
)
from bench.scheduler.policies import QUANTUM_S
from bench.scheduler.simulator import Outcome
from bench.scheduler.study import PERIOD_S, RATE
from bench.scheduler.traces import BATCH, CLASSES, NORMAL, URGENT, percent


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = ["| " + " | ".join(row) + " |" for row in (self.header, rule, *self.rows)]
        return "\n".join([f"## {self.title}", "", self.note, "", *lines, ""])

    def rich(self) -> RichTable:
        caption = self.note.replace("*", "")
        table = RichTable(
            title=self.title, caption=caption, title_justify="left", caption_justify="left"
        )
        for number, name in enumerate(self.header):
            table.add_column(name, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


def waits(outcomes: Sequence[Outcome]) -> Table:
    """One trace under every policy."""
    trace = outcomes[0].trace
    present = sorted({arrival.priority for arrival in trace.arrivals})
    rows = []
    for outcome in outcomes:
        summary = summarise(outcome)
        cells = [_seconds(summary.waits[priority]) for priority in present]
        tail = [str(summary.starved), f"{summary.fairness:.2f}", str(summary.parks)]
        rows.append([outcome.policy.name, *cells, *tail])
    names = [CLASSES[priority] for priority in present]
    note = (
        f"{len(trace.arrivals):,} jobs on {trace.slots} slots: {trace.about}. "
        "Waits in seconds: p50 / p99 / longest."
    )
    header = ["policy", *names, "starved", "fairness", "parked"]
    return Table(f"Waits: {trace.name}", note, header, rows)


def _seconds(waits: Waits) -> str:
    return f"{waits.p50:.1f} / {waits.p99:.1f} / {waits.worst:.1f}"


def turns(outcomes: Sequence[Outcome]) -> Table:
    """Return the turn of the one normal job of the study project's question."""
    rows = []
    for outcome in outcomes:
        (job,) = (job for job in outcome.jobs if job.arrival.priority == NORMAL)
        served = f"{job.turn + 1} of {len(outcome.jobs)}"
        rows.append([outcome.policy.name, served, f"{job.wait_s:.1f}"])
    trace = outcomes[0].trace
    note = f"{trace.about}: when is the normal one served?"
    return Table(trace.name, note, ["policy", "turn of the normal job", "its wait, s"], rows)


def order(outcomes: Sequence[Outcome]) -> Table:
    """Return how far ahead urgent work gets under a long backlog."""
    rows = [
        [
            outcome.policy.name,
            f"{largest_lead(outcome, NORMAL, URGENT):.3f}",
            f"{largest_lead(outcome, BATCH, URGENT):.3f}",
            str(overtaken_in_class(outcome)),
        ]
        for outcome in outcomes
    ]
    note = (
        f"The same trace ({outcomes[0].trace.name}). The lead of urgent work: how long after a job "
        "an urgent one arrived and was started before it; the longest of all. Theory for aging at "
        f"rate {RATE}: below d/r, which is {1 / RATE:.0f} s for one level and {2 / RATE:.0f} s for "
        "two. Preemption takes slots by base priority, and does not promise it."
    )
    header = ["policy", "lead over normal, s", "lead over batch, s"]
    return Table("Order", note, [*header, "jobs overtaken in their own class"], rows)


def costs(measured: Sequence[Cost], baseline: float) -> Table:
    """Push, pop and aging while n jobs wait; ``baseline``: idle CPU with an empty queue."""
    rows = [
        [
            f"{cost.n:,}",
            f"{cost.push_ns / 1000:.2f}",
            f"{cost.push_top_ns / 1000:.2f}",
            f"{cost.pop_ns / 1000:.2f}",
            f"{cost.comparisons:.1f}",
            f"{cost.enter_ns / 1000:.1f} / {cost.next_ns / 1000:.1f}",
            percent(cost.idle_share, 2),
            _pass(cost.study_pass_ms),
            "no compiler" if cost.study_cpp_pass_ms is None else _pass(cost.study_cpp_pass_ms),
        ]
        for cost in measured
    ]
    first, last = measured[0], measured[-1]
    note = (
        "CPU times; push and pop at a steady size, median of "
        f"{BATCHES} batches, Python's collector off. *To the top*: "
        "pushing a job that goes before all others, the longest way. *Whole queue*: the heap with "
        "the books beside it (turns between owners, bounds, preemption), filled to n and drained. "
        "*Aging, Forge*: CPU that the real dispatcher takes while so many jobs wait, measured; it "
        f"takes {percent(baseline, 2)} with an empty queue. *Aging, study project*: one pass over "
        f"all waiting jobs (the fastest of {PASSES}), and the share of a core when it sleeps "
        f"{PERIOD_S:.0f} s in between; in Python on the same heapq, and in C++ (-O2).\n\n"
        f"From {first.n:,} to {last.n:,} waiting, log2 n grows {growth(first, last):.1f}-fold, the "
        f"comparisons of a pop {last.comparisons / first.comparisons:.1f}-fold, and its time "
        f"{last.pop_ns / first.pop_ns:.1f}-fold; beyond the comparisons, a larger heap costs cache "
        "misses."
    )
    header = ["waiting", "push, µs", "to the top, µs", "pop, µs", "comparisons per pop"]
    aging = [
        "whole queue in / out, µs",
        "aging, Forge: CPU",
        "aging, study project in Python",
        "aging, study project in C++",
    ]
    return Table("Cost", note, [*header, *aging], rows)


def _pass(pass_ms: float) -> str:
    return f"{pass_ms:,.2f} ms, {percent(share(pass_ms), 1)}"


def preface(quick: bool) -> str:
    """Return what was run, where, and what the words mean."""
    day = datetime.now(UTC).date().isoformat()
    command = "python -m bench.scheduler" + (" --quick" if quick else "")
    return f"""# Scheduler: does the order hold, and what does it cost?

Written by `{command}` on {day}: {processor()}, {os.cpu_count()} cores, \
Python {platform.python_version()}. Waits are simulated in virtual time and are the same on every \
machine; costs are this machine's, all from one run.

All policies but the study project's are the gateway's own dispatcher and heap: FIFO is given \
equal priorities, strict priority the aging rate 0, Forge {RATE} per second. With *preempt on*, \
the gateway's default, a running job is parked for one of higher base priority after a quantum of \
{QUANTUM_S} s. The study project ages by {RATE} every {PERIOD_S:.0f} s; as published its priority \
is an `int`, so that adding {RATE} changes nothing.

*Wait*: all time from arrival to end without a slot. *Starved*: jobs that waited more than \
{STARVED_S:.0f} s. *Fairness*: Jain's index, (sum x)^2 / (n sum x^2), of the classes' slowdowns \
(mean time in the system over mean service): 1 when no class is slowed down more than another, 1/n \
when one bears it all. *Parked*: how often a running job had to give up its slot. After the last \
arrival a simulation goes on until everything is served.
"""


def processor() -> str:
    """The name of the CPU, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def write(path: Path, tables: Sequence[Table], images: Sequence[Path], *, quick: bool) -> None:
    """One Markdown file, with the images beside it."""
    pictures = "\n".join(f"![{image.stem}]({image.name})" for image in images)
    parts = [preface(quick), *(table.markdown() for table in tables), pictures, ""]
    path.write_text("\n".join(parts), "utf-8")
