"""`python -m bench.concurrency [--quick] [--model NAME]`: threads, event loop, processes, measured.

1. *Ten sites*: one after another, a thread each, asyncio.
2. *Connections*: sequential, a thread each, asyncio, starlette; and what is left out of HTTP costs.
3. *Compute*: inference in the loop, in threads, in processes, and in Forge; crashes; many clients.
4. *Order*: first come first served beside Forge, at overload.

With a model that is not the embedded one, 3 (without crashes and crowds) and 4 alone: where a token
waits for gigabytes of weights, a batch pays more. Needs no network. Linux.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.models import NAMES, cache, model
from bench.trained import NoModel

from . import compute, connections, order, sites
from .plots import draw
from .report import Results, markdown
from .subject import EMBEDDED, Subject, large

RESULTS = Path(__file__).parent.parent / "results"


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run; times in seconds."""

    delays: float
    """Factor of the delays of the ten sites."""
    counts: list[int]
    waits: list[float]
    connections_s: float
    compute_s: float
    crowd: int
    order_s: float


FULL = Plan(1.0, [1, 10, 100, 1000], [0.0, 0.05], 1.5, 5.0, 5000, 10.0)
QUICK = Plan(0.1, [1000], [0.0, 0.05], 0.2, 0.5, 500, 2.0)
LARGE = Plan(0.0, [], [], 0.0, 60.0, 0, 30.0)
QUICK_LARGE = Plan(0.0, [], [], 0.0, 15.0, 0, 5.0)


def run(plan: Plan, subject: Subject, console: Console) -> Results:
    """All experiments that the plan has, one after the other."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:

        def ticking(name: str, total: int) -> Callable[[], None]:
            task = bar.add_task(name, total=total)
            return lambda: bar.advance(task)

        found = connected = None
        if plan.counts:
            found = sites.measure(plan.delays, ticking("ten sites", 3))
            total = connections.steps(plan.counts, plan.waits)
            tick = ticking("connections", total)
            connected = connections.measure(plan.counts, plan.waits, plan.connections_s, tick)
        tick = ticking("compute", compute.steps(plan.crowd))
        computed = compute.measure(subject, plan.compute_s, plan.crowd, tick)
        ordered = order.measure(subject, plan.order_s, ticking("order", order.STEPS))
        return Results(found, connected, computed, ordered)


def made(name: str, console: Console) -> Subject:
    """Return a model by its name, made if it is not there. Raises NoModel."""
    with Progress(console=console) as bar:
        return large(name, model(name, cache(), bar))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.concurrency", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="some minutes less")
    parser.add_argument("--model", choices=NAMES, help="in place of the embedded one")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for report and plot")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    console, load = Console(), os.getloadavg()[0]
    if args.model is None:
        plan, subject, name = QUICK if args.quick else FULL, EMBEDDED, "concurrency"
    else:
        plan, name = QUICK_LARGE if args.quick else LARGE, f"concurrency-{args.model}"
        try:
            subject = made(args.model, console)
        except NoModel as error:
            parser.exit(1, f"bench.concurrency: {error}\n")
    results = run(plan, subject, console)
    options = " --quick" * args.quick + (f" --model {args.model}" if args.model else "")
    text = markdown(results, load, f"{name}.png", options=options)
    (args.out / f"{name}.md").write_text(text, encoding="utf-8")
    draw(results, args.out / f"{name}.png")
    for found in results.claims().values():
        for claim in found:
            console.print(f"{claim.verdict}: {claim.text} {claim.seen}", highlight=False)
    console.print(f"written to {args.out}")


if __name__ == "__main__":
    main()
