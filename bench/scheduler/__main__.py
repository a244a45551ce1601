"""``python -m bench.scheduler``: tables and plots into bench/results."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from bench.scheduler import cost, plots, report, traces
from bench.scheduler.policies import POLICIES
from bench.scheduler.simulator import Outcome, simulate
from bench.scheduler.study_cpp import compiled

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of a run."""

    steady_s: int
    """Length of the traces below capacity."""
    endless_s: int
    sizes: tuple[int, ...]
    """Jobs waiting when costs are measured."""
    idle_s: float


FULL = Scale(3600, 600, (1_000, 10_000, 100_000, 1_000_000), 2.0)
QUICK = Scale(600, 300, (1_000, 10_000), 0.5)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduler", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter traces, up to 10k waiting")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console()
    # No refreshing thread: it would compete with what is measured.
    with Progress(console=console, auto_refresh=False) as progress:
        run(QUICK if options.quick else FULL, options.out, progress, quick=options.quick)


def run(scale: Scale, out: Path, progress: Progress, *, quick: bool) -> None:
    """Both experiments, and everything that is written about them."""
    poisson, bursty = traces.poisson(scale.steady_s), traces.bursty(scale.steady_s)
    endless, question = traces.endless_urgent(scale.endless_s), traces.twenty_urgent()
    played = play([poisson, bursty, endless, question], progress)
    measured, baseline = measure(scale, progress)
    random = [poisson, bursty, endless]
    tables = [
        *(report.waits(played[trace.name]) for trace in random),
        report.order(played[endless.name]),
        report.turns(played[question.name]),
        report.costs(measured, baseline),
    ]
    images = [
        plots.waits({t.name: played[t.name] for t in random}, out / "scheduler-waits.png"),
        plots.lead(played[endless.name], out / "scheduler-lead.png"),
        plots.turns(played[question.name], out / "scheduler-turns.png"),
        plots.costs(measured, out / "scheduler-cost.png"),
    ]
    report.write(out / "scheduler.md", tables, images, quick=quick)
    for table in tables:
        progress.console.print(table.rich())
    progress.console.print(f"written: {out / 'scheduler.md'} and {len(images)} plots")


def play(chosen: Sequence[traces.Trace], progress: Progress) -> dict[str, list[Outcome]]:
    """Every trace under every policy, by the trace's name."""
    jobs = sum(len(trace.arrivals) for trace in chosen) * len(POLICIES)
    task = progress.add_task("simulating", total=jobs)
    played: dict[str, list[Outcome]] = {}
    for trace in chosen:
        for policy in POLICIES:
            text = f"simulating {trace.name}: {policy.name}"
            progress.update(task, description=text, refresh=True)
            played.setdefault(trace.name, []).append(simulate(trace, policy))
            progress.update(task, advance=len(trace.arrivals), refresh=True)
    return played


def measure(scale: Scale, progress: Progress) -> tuple[list[cost.Cost], float]:
    """Costs for every size, and what an idle process burns with an empty queue."""
    task = progress.add_task("measuring", total=sum(scale.sizes))
    measured = []
    baseline = asyncio.run(cost.idle_share(0, scale.idle_s))
    with compiled() as study_cpp:
        for size in scale.sizes:
            text = f"measuring with {size:,} waiting"
            progress.update(task, description=text, refresh=True)
            measured.append(cost.measure(size, study_cpp, scale.idle_s))
            progress.update(task, advance=size, refresh=True)
    return measured, baseline


if __name__ == "__main__":
    main()
