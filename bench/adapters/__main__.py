"""`python -m bench.adapters MODEL [--quick]`: what do streams of different LoRA adapters cost?

Eight streams at once on one worker, of the base alone, of one adapter, of base and adapter, of two
adapters, and of all three: tokens per second, the worker's CPU time for each token, which other
programs on the machine do not change, and the pauses of the streams.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bench.environment import machine
from bench.processes import cpu_seconds
from bench.server import Server, running
from tests.support.adapters import random_lora

RESULTS = Path(__file__).parent.parent / "results"
STREAMS = 8
BASE, ONE, TWO = "base", "one", "two"
WAYS: dict[str, tuple[str, ...]] = {
    "the base alone": (BASE,),
    "one adapter": (ONE,),
    "base and adapter": (BASE, ONE),
    "two adapters": (ONE, TWO),
    "base and two adapters": (BASE, ONE, TWO),
}
"""The models that the streams ask for, one after another."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of STREAMS answers at once."""

    rate: float
    """Tokens per second, all streams together."""
    cpu_ms: float
    """CPU time of the worker for each token, in milliseconds."""
    pauses_ms: list[float]
    """Pauses between the chunks of streams, ascending."""


def body(number: int, tokens: int, model: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Write about number {number}."}]
    given = {"messages": messages, "seed": number, "max_tokens": tokens, "ignore_eos": True}
    return {**given, "model": model, "stream": True}


async def stream(client: httpx.AsyncClient, asked: dict[str, Any]) -> list[float]:
    """Return the times at which the chunks of an answer came."""
    times = list[float]()
    async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                times.append(time.perf_counter())
    return times


async def once(server: Server, pid: int, tokens: int, models: tuple[str, ...]) -> Round:
    """STREAMS answers at once; ``pid`` is the worker's."""
    limits = httpx.Limits(max_connections=STREAMS)
    async with httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits) as client:
        before, began = cpu_seconds(pid), time.perf_counter()
        asked = [body(n, tokens, models[n % len(models)]) for n in range(STREAMS)]
        found = await asyncio.gather(*(stream(client, each) for each in asked))
        seconds, cpu = time.perf_counter() - began, cpu_seconds(pid) - before
    pauses = [b - a for times in found for a, b in pairwise(times[1:])]
    given = STREAMS * tokens
    return Round(given / seconds, cpu / given * 1e3, sorted(pause * 1e3 for pause in pauses))


def measure(
    server: Server, rounds: int, tokens: int, ways: Mapping[str, tuple[str, ...]] = WAYS
) -> dict[str, list[Round]]:
    """Every way in every round; each comes first as often."""
    (worker,) = server.workers()
    found: dict[str, list[Round]] = {name: [] for name in ways}
    asyncio.run(once(server, worker["pid"], 16, ways["base and two adapters"]))
    for turn in range(rounds):
        for name in [*ways][turn % len(ways) :] + [*ways][: turn % len(ways)]:
            found[name].append(asyncio.run(once(server, worker["pid"], tokens, ways[name])))
    return found


def report(
    found: Mapping[str, list[Round]],
    model: str,
    tokens: int,
    adapters: str = "adapters of rank 16 for all linear layers",
    heading: str = "# Streams of different adapters",
) -> str:
    """The results as Markdown."""
    base, rounds = found["the base alone"], len(found["the base alone"])
    lines = [
        heading, "",
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()['cpu']}, one worker with one thread, {model}, "
        f"{adapters}. {rounds} rounds of {STREAMS} streams of {tokens} tokens at once; medians, "
        "and ratios to the base of the same round.", "",
        "| Streams of | tokens/s | ratio | worker's CPU, ms per token | ratio "
        "| pauses p50, ms | p99 | longest |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for name, each in found.items():
        pairs = list(zip(each, base, strict=True))
        pauses = [round_.pauses_ms for round_ in each]
        lines.append(
            f"| {name} | {median(r.rate for r in each):.1f} "
            f"| {median(r.rate / b.rate for r, b in pairs):.2f} "
            f"| {median(r.cpu_ms for r in each):.1f} "
            f"| {median(r.cpu_ms / b.cpu_ms for r, b in pairs):.2f} "
            f"| {median(p[len(p) // 2] for p in pauses):.0f} "
            f"| {median(p[int(len(p) * 0.99)] for p in pauses):.0f} "
            f"| {max(p[-1] for p in pauses):.0f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.adapters", description=__doc__)
    parser.add_argument("model", type=Path, help="GGUF file")
    parser.add_argument("--quick", action="store_true", help="a few tokens only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rounds, tokens = (1, 24) if args.quick else (3, 60)
    with TemporaryDirectory() as folder:
        files = [
            f"{name}={random_lora(args.model, seed, rank=16).write(Path(folder) / name)}"
            for seed, name in enumerate((ONE, TWO))
        ]
        shape = ("--workers", "1", "--slots", str(STREAMS), "--threads", "1", "--alias", BASE)
        options = ("--model", str(args.model), "--adapters", ",".join(files))
        with running(*shape, *options) as server:
            server.wait_ready()
            text = report(measure(server, rounds, tokens), args.model.name, tokens)
    print(text)
    (args.out / "adapters-random.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
