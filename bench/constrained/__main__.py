"""`python -m bench.constrained [--quick]`: what does it cost that an answer must be JSON?

Free and constrained answers take turns on one server: tokens per second of eight at once, and the
worker's CPU time for each token, which other programs on the machine do not change. Then the
pauses of one stream while new schemas are compiled beside it, and while schemas come that are
refused.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bench.server import Server, running

from .measure import BATCH, ENDLESS, Gaps, Speed, gaps, new_schema, speed

RESULTS = Path(__file__).parent.parent / "results"
SHAPE = (
    *("--workers", "1", "--slots", str(BATCH), "--threads", "1", "--alias", "forge-tiny"),
    # The tiny model's free answers are loops, of which drafts would make twice the speed.
    *("--speculative", "off"),
)
WAYS: dict[str, dict[str, Any]] = {
    "free": {},
    "JSON schema": {"json_schema": ENDLESS},
    "free, greedy": {"temperature": 0},
    "JSON schema, greedy": {"temperature": 0, "json_schema": ENDLESS},
}
WIDE = {"properties": {f"p{at}": {"type": "integer"} for at in range(1500)}, "type": "object"}
REFUSED: list[dict[str, Any]] = [
    {"json_schema": WIDE},
    {"grammar": 'start: s\ns: s s | "a" | "b" | s "c"'},
    {"grammar": "root ::= " + "(" * 20_000},
]


@dataclass(frozen=True, slots=True)
class Plan:
    rounds: int
    tokens: int


FULL, QUICK = Plan(12, 300), Plan(2, 60)


def disturbances(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Return the requests beside the stream whose pauses are measured."""
    many = range(plan.rounds * plan.tokens)
    return {
        "nothing": [],
        "chats": [{}],
        "chats, each with a new schema": [{"json_schema": new_schema(n)} for n in many],
        "schemas and grammars that are refused": REFUSED,
    }


def measure(
    server: Server, plan: Plan, console: Console
) -> tuple[dict[str, list[Speed]], dict[str, list[Gaps]]]:
    """Every way and every disturbance, taking turns."""
    (worker,) = server.workers()
    speeds: dict[str, list[Speed]] = {name: [] for name in WAYS}
    beside = disturbances(plan)
    pauses: dict[str, list[Gaps]] = {name: [] for name in beside}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("rounds", total=plan.rounds)
        for turn in range(plan.rounds):
            # Who comes later finds more cells in use: everybody comes first as often.
            for name in [*WAYS][turn % len(WAYS) :] + [*WAYS][: turn % len(WAYS)]:
                params = WAYS[name]
                speeds[name].append(asyncio.run(speed(server, worker["pid"], plan.tokens, params)))
            for name, bodies in beside.items():
                part = bodies[turn * plan.tokens : (turn + 1) * plan.tokens] or bodies
                found = asyncio.run(gaps(server, 2 * plan.tokens, part, 0.05))
                pauses[name].append(found)
            bar.advance(task)
    return speeds, pauses


def report(speeds: dict[str, list[Speed]], pauses: dict[str, list[Gaps]], plan: Plan) -> str:
    """The results as Markdown."""
    lines = [
        "# The price of a constraint", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}, one worker with one thread, the embedded model. {plan.rounds} "
        f"rounds of {BATCH} answers of {plan.tokens} tokens at once; medians, and ratios to the "
        "free ones of the same round.", "",
        "| | tokens/s | ratio | worker's CPU, µs per token | ratio |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, found in speeds.items():
        base = speeds["free, greedy" if "greedy" in name else "free"]
        pairs = list(zip(found, base, strict=True))
        lines.append(
            f"| {name} | {median(s.rate for s in found):.0f} "
            f"| {median(s.rate / b.rate for s, b in pairs):.2f} "
            f"| {median(s.cpu_us for s in found):.0f} "
            f"| {median(s.cpu_us / b.cpu_us for s, b in pairs):.2f} |"
        )
    lines += [
        "", "Pauses between the tokens of one stream while other requests come, one after another:",
        "", "| beside it | p50, ms | p99, ms | longest, ms (median of rounds) | of all |",
        "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, rounds in pauses.items():
        lines.append(
            f"| {name} | {median(g.quantile(0.5) for g in rounds):.1f} "
            f"| {median(g.quantile(0.99) for g in rounds):.1f} "
            f"| {median(g.longest for g in rounds):.1f} | {max(g.longest for g in rounds):.1f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.constrained", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few tokens only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plan, console = QUICK if args.quick else FULL, Console()
    with running(*SHAPE) as server:
        server.wait_ready()
        text = report(*measure(server, plan, console), plan)
    console.print(text)
    (args.out / "constrained.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
