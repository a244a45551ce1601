"""`python -m bench.chaos [--quick] [--seconds N]`: workers die, and what their clients see.

1. *Chaos*. Sixteen clients of all kinds, two workers, and signals at random moments: no client may
   see more than a pause, and nothing may be left behind.
2. *Recovery*. How long that pause is, with another worker alive and without.

The exit code is 1 if the promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import report
from .experiment import STUCK_S, Plan, run
from .recovery import Recovery, measure

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of a run."""

    seconds: float
    requests: int
    rounds: int


FULL = Extent(seconds=600, requests=105, rounds=12)
QUICK = Extent(seconds=30, requests=14, rounds=2)


async def measure_all(extent: Extent, seed: int, bar: Progress) -> report.Report:
    """Both parts, one after the other."""
    plan = Plan(extent.seconds, extent.requests, seed)
    tasks = {
        "twin": bar.add_task("undisturbed", total=plan.requests),
        "blow": bar.add_task("blows", total=None),
        "answer": bar.add_task("answers", total=None),
    }
    result = await run(plan, lambda what: bar.advance(tasks[what]))
    cases = {
        "a worker is killed beside another": (2, signal.SIGKILL),
        "the only worker is killed": (1, signal.SIGKILL),
        f"a worker stands still, --stuck-timeout {STUCK_S:g}": (2, signal.SIGSTOP),
    }
    task = bar.add_task("recovery", total=extent.rounds * len(cases))
    recoveries: dict[str, Recovery] = {}
    for name, (workers, number) in cases.items():
        advance = lambda: bar.advance(task)  # noqa: E731
        recoveries[name] = await measure(workers, extent.rounds, number, advance)
    return report.Report(result, recoveries)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute of chaos, not ten")
    parser.add_argument("--seconds", type=float, help="of chaos")
    parser.add_argument("--seed", type=int, default=1, help="other requests, other moments")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the report")
    args = parser.parse_args()
    extent = QUICK if args.quick else FULL
    if args.seconds is not None:
        extent = Extent(args.seconds, extent.requests, extent.rounds)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        found = asyncio.run(measure_all(extent, args.seed, bar))
    console.print(*report.tables(found))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "chaos.md").write_text(report.markdown(found), encoding="utf-8")
    console.print(f"written to {args.out / 'chaos.md'}")
    if found.result.faults:
        sys.exit("\n".join(found.result.faults))


if __name__ == "__main__":
    main()
