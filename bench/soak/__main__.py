"""`python -m bench.soak [--quick]`: does memory grow with the requests served?

Thousands of short requests of all dialects, streaming and not, some with two choices, some whose
clients hang up. Prefixes have 64 MiB, which are full soon. The slope of every process's size over
the second half is printed in KiB for 1,000 requests; a server that keeps nothing else has none.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.server import Server, running

from .load import CONCURRENCY, Soaked, slope, soak

RESULTS = Path(__file__).parent.parent / "results"
SHAPE = ("--workers", "2", "--slots", "4", "--threads", "1", "--alias", "forge-tiny",
         "--cache-ram", "64")  # fmt: skip
"""Prefixes fill their host memory within the first thousand requests; it is no leak."""
FULL, QUICK = 20_000, 2_000
SAMPLES = 200


def lines(found: Soaked) -> list[tuple[str, ...]]:
    """(process, RSS in MiB at the middle and at the end, and both slopes) of every process."""
    middle, last = found.samples[len(found.samples) // 2], found.samples[-1]
    return [
        (
            name,
            f"{middle.memory[name].rss / 1024:.1f}",
            f"{last.memory[name].rss / 1024:.1f}",
            f"{slope(found.samples, name, 'rss'):+.1f}",
            f"{slope(found.samples, name, 'anonymous'):+.1f}",
        )
        for name in last.memory
    ]


HEADINGS = (
    "process",
    "RSS half-way, MiB",
    "at the end",
    "RSS, KiB per 1,000 requests",
    "anonymous memory",
)


def markdown(found: Soaked, count: int) -> str:
    """The report."""
    text = [
        "# Memory over many requests", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}. {count:,} short requests, {CONCURRENCY} at a time, in three "
        "dialects, streaming and not, no prompt like another, 64 MiB for prefixes; "
        f"{found.left:,} clients hung up, {len(found.errors)} saw an error. The slopes are "
        "least-squares lines through the second half.", "",
        f"| {' | '.join(HEADINGS)} |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    text += [f"| {' | '.join(row)} |" for row in lines(found)]
    return "\n".join([*text, "", "![memory](soak.png)", ""])


def plot(found: Soaked, image: Path) -> None:
    """Sizes over requests, from the size at the beginning of the second half."""
    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=110)
    for name in found.samples[-1].memory:
        served = [sample.served for sample in found.samples]
        axes.plot(served, [s.memory[name].rss / 1024 for s in found.samples], label=name)
    axes.axvline(found.samples[len(found.samples) // 2].served, color="black", linewidth=0.5)
    axes.set(xlabel="requests served", ylabel="RSS, MiB", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(image)
    plt.close(figure)


def measure(server: Server, count: int, out: Path, console: Console) -> Soaked:
    """Everything, and the report."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("requests", total=count)
        every = max(1, count // SAMPLES)
        found = asyncio.run(soak(server, count, every, 1, lambda: bar.advance(task)))
    for row in lines(found):
        console.print("{}: {} -> {} MiB, {} KiB per 1,000 requests (anonymous {})".format(*row))
    console.print(f"{found.left} clients hung up; errors: {found.errors or 'none'}")
    (out / "soak.md").write_text(markdown(found, count), encoding="utf-8")
    plot(found, out / "soak.png")
    console.print(f"written to {out}")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} requests, not {FULL:,}")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for table and plot")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with running(*SHAPE) as server:
        server.wait_ready()
        measure(server, QUICK if args.quick else FULL, args.out, Console())


if __name__ == "__main__":
    main()
