"""Results as pictures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator

from bench.scheduler.cost import Cost, share
from bench.scheduler.measure import leads, summarise
from bench.scheduler.policies import FIFO, FORGE, FORGE_PREEMPT, STRICT, STUDY, STUDY_INT
from bench.scheduler.simulator import Outcome
from bench.scheduler.study import RATE
from bench.scheduler.traces import BATCH, CLASSES, NORMAL, URGENT
from gateway.core.clock import NANO

# Okabe and Ito's palette: told apart by colour-blind readers too.
CLASS_COLOURS = {BATCH: "#56B4E9", NORMAL: "#009E73", URGENT: "#D55E00"}
POLICY_COLOURS = {
    FIFO: "#999999",
    STRICT: "#000000",
    STUDY_INT: "#CC79A7",
    STUDY: "#E69F00",
    FORGE: "#0072B2",
    FORGE_PREEMPT: "#009E73",
}
DPI = 110


def _save(figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    return path


def turns(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Plot the slot's holder over time: one row for each policy."""
    figure, axes = plt.subplots(figsize=(9, 3.2))
    for row, outcome in enumerate(outcomes):
        for job in outcome.jobs:
            normal = job.arrival.priority == NORMAL
            for start, end in job.runs:
                axes.barh(
                    row,
                    (end - start) / NANO,
                    left=start / NANO,
                    height=0.7,
                    color=CLASS_COLOURS[job.arrival.priority],
                    alpha=1.0 if normal else 0.45,
                    edgecolor="white",
                    label=CLASSES[job.arrival.priority],
                )
    axes.set_yticks(range(len(outcomes)), [outcome.policy.name for outcome in outcomes])
    axes.invert_yaxis()
    axes.set_xlim(0, None)
    axes.set_xlabel("time, s (a new urgent job every 0.9 s; one slot, 1 s each)")
    axes.set_title("20 urgent, 1 normal: who holds the slot", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    axes.legend(
        known.values(),
        known.keys(),
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        frameon=False,
    )
    return _save(figure, path)


def lead(outcomes: Sequence[Outcome], path: Path) -> Path:
    """Plot how long after each job those arrived that overtook it, against d/r."""
    shown = [outcome for outcome in outcomes if outcome.policy in (STRICT, STUDY, FORGE)]
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharex=True)
    for axes, low in zip(panels, (NORMAL, BATCH), strict=True):
        levels = URGENT - low
        bound = levels / RATE
        for outcome in shown:
            arrived, seconds = zip(*leads(outcome, low, URGENT), strict=True)
            colour = POLICY_COLOURS[outcome.policy]
            axes.plot(arrived, seconds, "o-", ms=3, lw=0.7, color=colour, label=outcome.policy.name)
        label = f"d/r = {bound:.0f} s"
        axes.axhline(bound, color=CLASS_COLOURS[URGENT], ls="--", lw=1.4, label=label)
        # Linear where aging decides, logarithmic above, so that strict priority fits in.
        axes.set_yscale("symlog", linthresh=2 * bound, linscale=2)
        axes.set_ylim(0, 1000)
        axes.set_yticks([0, bound / 2, bound, 1.5 * bound, 2 * bound, 100, 1000])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(f"arrival of the {CLASSES[low]} job, s")
        axes.set_ylabel("lead of urgent work, s (log above)")
        axes.set_title(f"urgent before {CLASSES[low]}: d = {levels:.0f}")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower center", ncols=2, fontsize="small")
    figure.suptitle("Endless urgent work: how much later may it come, and still go first?")
    return _save(figure, path)


def waits(traces: Mapping[str, Sequence[Outcome]], path: Path) -> Path:
    """p99 by class and policy, one panel for each trace."""
    figure, panels = plt.subplots(1, len(traces), figsize=(12, 4), sharey=True)
    for axes, (name, outcomes) in zip(panels, traces.items(), strict=True):
        for row, outcome in enumerate(outcomes):
            for place, (priority, each) in enumerate(summarise(outcome).waits.items()):
                height = row + 0.22 * (place - 1)
                label = CLASSES[priority] if row == 0 else None
                axes.plot(each.p99, height, "o", ms=7, color=CLASS_COLOURS[priority], label=label)
            if row % 2:
                axes.axhspan(row - 0.5, row + 0.5, color="#000000", alpha=0.04, lw=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("p99 wait, s (log)")
        axes.set_title(name)
        axes.grid(axis="x", alpha=0.3)
    names = [outcome.policy.name for outcome in next(iter(traces.values()))]
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper left", frameon=False)
    return _save(figure, path)


def costs(measured: Sequence[Cost], path: Path) -> Path:
    """Push and pop beside log2 n; aging beside the study project's loop."""
    sizes = [cost.n for cost in measured]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    for name, colour, values in (
        ("push", "#56B4E9", [cost.push_ns for cost in measured]),
        ("push to the top", "#009E73", [cost.push_top_ns for cost in measured]),
        ("pop", "#0072B2", [cost.pop_ns for cost in measured]),
    ):
        left.plot(sizes, [value / 1000 for value in values], "o-", color=colour, label=name)
    unit = measured[0].pop_ns / 1000 / math.log2(sizes[0])
    grown = [unit * math.log2(n) for n in sizes]
    left.plot(sizes, grown, "--", color="#999999", label="log2 n, scaled to the first pop")
    left.set_ylabel("µs per operation")
    left.set_ylim(0, None)
    left.set_title("Forge: push and pop")
    loops = [("study project's loop, Python", STUDY, [cost.study_pass_ms for cost in measured])]
    in_cpp = [cost.study_cpp_pass_ms for cost in measured if cost.study_cpp_pass_ms is not None]
    if len(in_cpp) == len(measured):
        loops.append(("study project's loop, C++", STUDY_INT, in_cpp))
    for name, policy, passes in loops:
        right.plot(
            sizes,
            [100 * share(ms) for ms in passes],
            "o-",
            color=POLICY_COLOURS[policy],
            label=name,
        )
    idle = [100 * cost.idle_share for cost in measured]
    right.plot(sizes, idle, "o-", color=POLICY_COLOURS[FORGE], label="Forge (measured)")
    right.set_ylabel("CPU spent on aging, % of a core")
    right.set_title("Aging")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("jobs waiting (log)")
        axes.grid(alpha=0.3)
        axes.legend()
    return _save(figure, path)
