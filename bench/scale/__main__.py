"""``python -m bench.scale``: a page into bench/results."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.scale import report
from bench.scale.simulate import simulate

RESULTS = Path(__file__).parent.parent / "results"
FULL = {1: (20.0, 60.0), 10: (20.0, 30.0), 100: (12.0, 8.0), 300: (9.0, 4.0), 1000: (9.0, 2.0)}
QUICK = {1: (12.0, 20.0), 10: (12.0, 10.0), 30: (12.0, 5.0)}
"""Workers, and the seconds of virtual time before and while it is measured: before, slots and
caches get filled."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer workers, for less time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    console, outcomes = Console(), []
    for workers, (warm_s, seconds) in (QUICK if options.quick else FULL).items():
        console.print(f"{workers:,} workers, {seconds:g} s after {warm_s:g} s")
        outcomes.append(simulate(workers, warm_s, seconds))
    tables = [report.cost(outcomes), report.waits(outcomes)]
    report.write(options.out / "scale.md", tables)
    for table in tables:
        console.print(table.rich())
    console.print(f"written: {options.out / 'scale.md'}")


if __name__ == "__main__":
    main()
