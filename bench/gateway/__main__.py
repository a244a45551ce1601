"""`python -m bench.gateway [--quick | --stages]`: what does the gateway itself cost?

Requests per second, latency, CPU time for each request and each streamed token, thousands of
streams at once and their memory, with workers that compute nothing, beside a bare Starlette echo;
and how late the event loop is while real workers compute. --stages: only where the time goes.
Linux.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from . import report, stages
from .measure import Results, crowd, lags, requests, streams

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run."""

    rounds: int
    seconds: float
    connections: tuple[int, ...]
    tokens: int
    """Of each stream."""
    crowd: int
    crowd_tokens: int
    crowd_pace_s: float
    repeats: int
    """Of each stage."""


FULL = Plan(5, 3, (1, 32, 256), 200, 5000, 60, 1.0, 300)
QUICK = Plan(2, 1, (1, 32), 50, 500, 20, 0.5, 100)


def run(plan: Plan, out: Path, console: Console) -> None:
    """Everything, and the report."""
    results = Results()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("measuring", total=3 * plan.rounds + 2)

        def tick() -> None:
            bar.advance(task)

        requests(results, plan.rounds, plan.seconds, plan.connections, plan.tokens, tick)
        streams(results, plan.rounds, plan.tokens, tick)
        crowd(results, plan.crowd, plan.crowd_tokens, plan.crowd_pace_s)
        tick()
        lags(results, plan.rounds, 3 * plan.seconds, tick)
        where = stages.measure(plan.repeats)
        tick()
    text = report.markdown(results, where)
    (out / "gateway.md").write_text(text, encoding="utf-8")
    console.print(Markdown(text))
    console.print(f"written to {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--stages", action="store_true", help="only where the time goes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    if args.stages:
        Console().print(Markdown("\n".join(report.stages(stages.measure(FULL.repeats)))))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    run(QUICK if args.quick else FULL, args.out, Console())


if __name__ == "__main__":
    main()
