"""`python -m bench.capturing [--quick]`: what do captures cost?

CPU time of a request and of a streamed token in the gateway's own process, threads that write
included, by what is captured; with workers that compute nothing and no sockets.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import uvloop
from rich.console import Console
from rich.markdown import Markdown

from bench.gateway.measure import CHAT, ONE
from bench.gateway.null_worker import PIECE, PROMPT_TOKENS, TOKEN
from bench.gateway.stages import Bench, served
from gateway.config.config import Config
from workers.protocol import Delta, Finished, Generate, Started

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


def streaming(bench: Bench) -> None:
    """Let the pool answer streams token by token, one in each turn of the loop."""

    def submit(request: Generate, session: str = "") -> int:
        loop, left = asyncio.get_running_loop(), TOKENS
        tell = bench.pool.tell
        tell(Started(request.id, request.attempt, PROMPT_TOKENS, 0))

        def step() -> None:
            nonlocal left
            left -= 1
            if left:
                tell(Delta(request.id, request.attempt, [TOKEN], PIECE))
                loop.call_soon(step)
            else:
                tell(Finished(request.id, request.attempt, "length", [TOKEN], PIECE))

        loop.call_soon(step)
        return 0

    bench.pool.submit = submit  # type: ignore[method-assign]


async def cost(bench: Bench, work: Callable[[], Awaitable[None]], number: int) -> float:
    """CPU microseconds of each of ``number`` requests, until they are written."""
    start = time.process_time()
    for _ in range(number):
        await work()
    if bench.gateway.store is not None:
        while bench.gateway.captures.keeper._budget.held:  # noqa: ASYNC110 (the writer tells nobody)
            await asyncio.sleep(0.001)
    return 1e6 * (time.process_time() - start) / number


async def measured(folder: Path, rounds: int, number: int) -> dict[str, tuple[float, float]]:
    """Return what a request costs in each way, and a stream: medians of rounds that take turns."""
    found: dict[str, tuple[list[float], list[float]]] = {way.name: ([], []) for way in WAYS}
    streamed = orjson.dumps({**orjson.loads(ONE[CHAT]), "stream": True, "max_tokens": TOKENS})
    for round_ in range(rounds + 1):
        for at, way in enumerate(WAYS):
            place = folder / f"{round_}-{at}" if way.stored else None
            bench = Bench(Config(alias="null", data_dir=place, **way.options))
            await bench.gateway.start()
            app = bench.gateway.app()
            await cost(bench, served(app, CHAT, bench.raw), max(1, number // 10))  # warms up
            whole = await cost(bench, served(app, CHAT, bench.raw), number)
            streaming(bench)
            stream = await cost(bench, served(app, CHAT, streamed), max(1, number // 20))
            await bench.gateway.stop()
            if round_:  # the first one warms up
                found[way.name][0].append(whole)
                found[way.name][1].append(stream)
    return {name: (median(a), median(b)) for name, (a, b) in found.items()}


def table(found: dict[str, tuple[float, float]]) -> str:
    """Return it as Markdown: microseconds, and what they are more than without a store."""
    rows = ["| Captures | A request, µs | more | A token, µs | more |", "|---|---|---|---|---|"]
    first = found[WAYS[0].name]
    for name, (whole, stream) in found.items():
        token, before = stream / TOKENS, first[1] / TOKENS
        rows.append(
            f"| {name} | {whole:.0f} | {whole - first[0]:+.1f} | {token:.2f} "
            f"| {token - before:+.2f} |"
        )
    return "\n".join(rows)


def run(rounds: int, number: int) -> str:
    """Measure, and return the table."""
    with (
        tempfile.TemporaryDirectory(prefix="forge-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return table(runner.run(measured(Path(folder), rounds, number)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.capturing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some seconds")
    args = parser.parse_args()
    Console(width=120).print(Markdown(run(2, 100) if args.quick else run(9, 1000)))


if __name__ == "__main__":
    main()
