"""`python -m bench.concurrency [--quick]`: threads, event loop, processes, measured.

1. *Ten sites*: one after another, a thread each, asyncio.
2. *Connections*: sequential, a thread each, asyncio, starlette; and what is left out of HTTP costs.
3. *Compute*: inference in the loop, in threads, in processes, and in Forge; crashes; many clients.
4. *Order*: first come first served beside Forge, at overload.

Needs no network. Linux.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import compute, connections, order, sites
from .plots import draw
from .report import Results, markdown

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything; times in seconds."""

    delays: float
    """What the delays of the ten sites are multiplied with."""
    counts: list[int]
    waits: list[float]
    connections_s: float
    compute_s: float
    crowd: int
    order_s: float


FULL = Plan(1.0, [1, 10, 100, 1000], [0.0, 0.05], 3.0, 6.0, 5000, 14.0)
QUICK = Plan(0.1, [1000], [0.0, 0.05], 0.2, 0.5, 500, 2.0)


def run(plan: Plan, console: Console) -> Results:
    """All experiments, one after the other."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        tasks = [
            bar.add_task(name, total=total)
            for name, total in (
                ("ten sites", 3),
                ("connections", connections.steps(plan.counts, plan.waits)),
                ("compute", compute.STEPS),
                ("order", order.STEPS),
            )
        ]
        ticks = [lambda task=task: bar.advance(task) for task in tasks]
        return Results(
            sites.measure(plan.delays, ticks[0]),
            connections.measure(plan.counts, plan.waits, plan.connections_s, ticks[1]),
            compute.measure(plan.compute_s, plan.crowd, ticks[2]),
            order.measure(plan.order_s, ticks[3]),
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.concurrency", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="under a minute instead of five")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for report and plot")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    console, load = Console(), os.getloadavg()[0]
    results = run(QUICK if args.quick else FULL, console)
    (args.out / "concurrency.md").write_text(
        markdown(results, load, quick=args.quick), encoding="utf-8"
    )
    draw(results, args.out / "concurrency.png")
    for found in results.claims().values():
        for claim in found:
            console.print(f"{claim.verdict}: {claim.text} {claim.seen}", highlight=False)
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
