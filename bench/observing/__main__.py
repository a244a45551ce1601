"""`python -m bench.observing [--quick]`: what does it cost to be watched?

CPU time of the gateway for each streamed token and each request, with metrics and without, while
Prometheus scrapes, while the live page is open, and with a log; and how long scrapes take. Linux.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import report, stages, traces
from .measure import Results, costs, scrapes

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run."""

    rounds: int
    tokens: int
    """Of each stream with a pace; ten times as many of one without."""
    seconds: float
    """Of requests."""
    repeats: int
    """Of each stage."""
    scrapes: int
    clients: int
    """Clients that all want something while there are scrapes; as many may wait by default."""


FULL = Plan(11, 200, 2, 1000, 200, 1000)
QUICK = Plan(2, 50, 0.5, 200, 50, 1000)


def run(plan: Plan, out: Path, console: Console) -> None:
    """Everything, and the report."""
    results = Results()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("measuring", total=plan.rounds + 2)

        def tick() -> None:
            bar.advance(task)

        costs(results, plan.rounds, plan.tokens, plan.seconds, tick)
        results.stages = stages.measure(plan.repeats)
        results.watched = traces.measure(2 * plan.repeats, max(plan.rounds, 2))
        scrapes(results, plan.scrapes, plan.clients)
        tick()
    text = report.markdown(results)
    (out / "observing.md").write_text(text, encoding="utf-8")
    console.print(Markdown(text))
    console.print(f"written to {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.observing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the tables")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run(QUICK if args.quick else FULL, args.out, Console())


if __name__ == "__main__":
    main()
