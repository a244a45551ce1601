"""`python -m bench.connections [--quick]`: 10,000 idle connections, and 10,000 that stream.

What each takes of the gateway's memory, how long `GET /health` takes meanwhile, beside the same
server without them, and whether anybody was forgotten. Needs as many open files (`ulimit -n`).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import report
from .crowd import Kind
from .measure import measure

RESULTS = Path(__file__).parent.parent / "results"
KINDS: tuple[Kind, ...] = ("idle", "streaming")


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of connections of each kind, and the time that the probes go on."""

    connections: int
    seconds: float


FULL = Plan(10_000, 10)
QUICK = Plan(1_000, 3)


def run(plan: Plan, out: Path, console: Console) -> None:
    """Everything, and the report."""
    results = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        for kind in KINDS:
            task = bar.add_task(kind, total=plan.connections)
            results.append(
                measure(
                    kind, plan.connections, plan.seconds,
                    lambda opened, task=task: bar.update(task, completed=opened),  # type: ignore[misc]
                )
            )  # fmt: skip
    console.print(report.table(results))
    report.write(results, out)
    console.print(f"written to {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.connections", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 of each instead of 10,000")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run(QUICK if args.quick else FULL, args.out, Console())


if __name__ == "__main__":
    main()
