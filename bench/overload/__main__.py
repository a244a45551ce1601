"""`python -m bench.overload [--quick]`: twice the capacity, first come first served beside Forge.

1. *Ratios*. A bounded queue, the same seeded arrivals twice per round: once with one priority for
   all (which is first come, first served), once with theirs. Rounds alternate on one server, so a
   noisy machine is noisy for both.
2. *Lead*. A queue several times longer than d/r, preemption off: the lead of urgent work settles at
   d/r seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.server import running

from . import report
from .load import Client, Outcome, poisson
from .measure import percentile, steady

RESULTS = Path(__file__).parent.parent / "results"
SLOTS = 8
SHAPE = ("--workers", "1", "--slots", str(SLOTS), "--threads", "1")
OVERLOAD = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run. ``rate`` is the aging rate: d/r is its inverse, d being 1."""

    rate: float
    tokens: int
    calibrate_s: float
    pilot_s: float
    rounds: int
    seconds: float
    lead_rate: float
    lead_seconds: float


FULL = Plan(rate=0.2, tokens=128, calibrate_s=8, pilot_s=14, rounds=2, seconds=34,
            lead_rate=0.2, lead_seconds=50)  # fmt: skip
QUICK = Plan(rate=0.2, tokens=128, calibrate_s=3, pilot_s=10, rounds=1, seconds=14,
             lead_rate=1.0, lead_seconds=12)  # fmt: skip

WAIT_SHARE = 0.7
"""The longest wait under FIFO to aim at, as a share of d/r: above 1 age alone would decide."""
LEAD_BACKLOG = 4.0
"""The queue bound of the second run, in multiples of d/r."""


async def calibrate(plan: Plan) -> float:
    """Requests per second that the server can do."""
    with running(*SHAPE) as server:
        client = Client(server.url, plan.tokens)
        await client.capacity(SLOTS, 1)  # caches and branch predictors warm up
        found = await client.capacity(2 * SLOTS, plan.calibrate_s)
        await client.close()
    return found


async def fit(plan: Plan, capacity: float) -> int:
    """The queue bound with which the wait under FIFO is WAIT_SHARE of d/r.

    A machine that also makes the load serves less than its capacity, so this is tried and not
    calculated.
    """
    wanted = WAIT_SHARE / plan.rate
    queue = max(2, round(capacity * wanted))
    arrivals = poisson(OVERLOAD * capacity, plan.pilot_s, "pilot")
    with running(*SHAPE, "--max-queue", str(queue)) as server:
        client = Client(server.url, plan.tokens)
        outcomes = await client.run(arrivals, fifo=True, tick=lambda: None)
        await client.close()
    late = [o.ttft_s for o in steady(outcomes, plan.pilot_s / 2) if o.ttft_s is not None]
    found = percentile(late, 0.99)
    return queue if math.isnan(found) else max(2, round(queue * min(1.0, wanted / found)))


async def ratios(
    plan: Plan, capacity: float, queue: int, bar: Progress
) -> dict[str, list[Outcome]]:
    """The outcomes under both orders; each round starts from an empty server."""
    bounds = ("--max-queue", str(queue), "--aging-rate", str(plan.rate))
    found: dict[str, list[Outcome]] = {"FIFO": [], "Forge": []}
    task = bar.add_task("twice the capacity")
    rounds = [poisson(OVERLOAD * capacity, plan.seconds, f"round {i}") for i in range(plan.rounds)]
    bar.update(task, total=2 * sum(map(len, rounds)))
    with running(*SHAPE, *bounds) as server:
        client = Client(server.url, plan.tokens)
        for arrivals in rounds:
            for order, outcomes in found.items():
                fifo = order == "FIFO"
                outcomes += await client.run(arrivals, fifo=fifo, tick=lambda: bar.advance(task))
        await client.close()
    return found


async def long_backlog(plan: Plan, capacity: float, bar: Progress) -> list[Outcome]:
    """One run with a queue several times d/r, and age alone: preemption goes by base priority."""
    queue = round(capacity * LEAD_BACKLOG / plan.lead_rate)
    options = ("--max-queue", str(queue), "--aging-rate", str(plan.lead_rate))
    arrivals = poisson(OVERLOAD * capacity, plan.lead_seconds, "backlog")
    task = bar.add_task("long backlog", total=len(arrivals))
    with running(*SHAPE, *options, "--preempt", "off") as server:
        client = Client(server.url, plan.tokens)
        found = await client.run(arrivals, fifo=False, tick=lambda: bar.advance(task))
        await client.close()
    return found


async def measure(plan: Plan, out: Path, console: Console) -> None:
    """Everything, and the report."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("capacity", total=2)
        capacity = await calibrate(plan)
        bar.advance(task)
        queue = await fit(plan, capacity)
        bar.advance(task)
        orders = await ratios(plan, capacity, queue, bar)
        backlog = await long_backlog(plan, capacity, bar)
    result = report.Result(
        capacity=capacity,
        overload=OVERLOAD,
        queue=queue,
        warm_s=1.5 * WAIT_SHARE / plan.rate,
        orders=orders,
        backlog=backlog,
        lead_s=1 / plan.lead_rate,
    )
    console.print(report.table(result))
    report.write(result, out)
    console.print(f"written to {out}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute instead of five")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for tables and plots")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(measure(QUICK if args.quick else FULL, args.out, Console()))


if __name__ == "__main__":
    main()
