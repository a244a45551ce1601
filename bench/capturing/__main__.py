"""`python -m bench.capturing [--quick]`: what do captures cost?

CPU time of a request and of a streamed token in the gateway's own process, threads that write
included, by what is captured; with workers that compute nothing and no sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import uvloop
from rich.console import Console
from rich.markdown import Markdown

from bench.environment import machine
from bench.gateway.measure import CHAT, ONE
from bench.gateway.stages import Bench, served, streaming
from bench.observing.report import side_by_side
from bench.observing.traces import SETTLE_S, Cost
from gateway.config.config import Config

RESULTS = Path(__file__).parent.parent / "results"
TOKENS = 200
"""Of a stream."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way in which requests are captured or not."""

    name: str
    options: dict[str, Any]
    stored: bool = True


WAYS = (
    Way("no store", {}, stored=False),
    Way("--capture off", {}),
    Way("--capture header, not asked for", {"capture": "header"}),
    Way("--capture always", {"capture": "always"}),
    Way("the same, with two patterns", {"capture": "always", "redact": ("sk-[a-z]+", r"\d{13}")}),
)


async def cost(bench: Bench, work: Callable[[], Awaitable[None]], number: int) -> float:
    """CPU microseconds of each of ``number`` requests, until they are written."""
    start = time.process_time()
    for _ in range(number):
        await work()
    if bench.gateway.store is not None:
        while bench.gateway.captures.keeper._budget.held:  # noqa: ASYNC110 (the writer tells nobody)
            await asyncio.sleep(0.001)
    return 1e6 * (time.process_time() - start) / number


async def measured(folder: Path, rounds: int, number: int) -> dict[str, list[Cost]]:
    """Return the costs of each round, by what is captured."""
    found: dict[str, list[Cost]] = {way.name: [] for way in WAYS}
    streamed = orjson.dumps({**orjson.loads(ONE[CHAT]), "stream": True, "max_tokens": TOKENS})
    for round_ in range(rounds + 1):
        for at in range(len(WAYS)):
            way = WAYS[(at + round_) % len(WAYS)]
            place = folder / f"{round_}-{at}" if way.stored else None
            bench = Bench(Config(alias="null", data_dir=place, **way.options))
            await bench.gateway.start()
            await asyncio.sleep(SETTLE_S)
            app = bench.gateway.app()
            await cost(bench, served(app, CHAT, bench.raw), max(1, number // 10))  # warms up
            whole = await cost(bench, served(app, CHAT, bench.raw), number)
            streaming(bench.pool, TOKENS)
            stream = await cost(bench, served(app, CHAT, streamed), max(1, number // 20))
            await bench.gateway.stop()
            if round_:  # the first one warms up
                found[way.name].append(Cost(whole, stream / TOKENS))
    return found


def report(found: Mapping[str, Sequence[Cost]]) -> str:
    """Return the page."""
    rounds, here = len(next(iter(found.values()))), machine()
    return "\n".join([
        "# What captures cost", "",
        f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {here['cpu']}, "
        f"{here['cores']} cores, load {os.getloadavg()[1]:.1f}. CPU time of the gateway's process, "
        "threads that write included, until all is written; all of the application without "
        "sockets, on a pool that computes nothing. A request is a chat of one token; a token is "
        f"one of a stream of {TOKENS}, with its share of the stream's begin and end. All ways "
        f"take turns {rounds} times, in changing order; what is added and the ratio are medians "
        "of the differences from the first way in the same round.", "",
        *side_by_side(found, "captures"), "",
    ])  # fmt: skip


def run(rounds: int, number: int) -> str:
    """Measure, and return the page."""
    with (
        tempfile.TemporaryDirectory(prefix="forge-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return report(runner.run(measured(Path(folder), rounds, number)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.capturing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some seconds")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    text = run(2, 100) if args.quick else run(9, 1000)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "capturing.md").write_text(text, encoding="utf-8")
    Console(width=120).print(Markdown(text))


if __name__ == "__main__":
    main()
