"""The cost of usage and traces for a request and for a token: all of the application, in turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson
import uvloop

from bench.gateway.host import tracing
from bench.gateway.measure import CHAT, ONE
from bench.gateway.stages import Bench, served, streaming
from gateway.config.config import Config
from gateway.tracing.tracer import Tracer

from .collecting import collecting

TOKENS = 200
"""Of a stream."""
SETTLE_S = 1.0
"""Time for what a server does once, when it has started."""


class Watched(NamedTuple):
    """Things that are counted and kept of requests."""

    usage: bool = False
    stored: bool = False
    """True: usage is written to a data folder."""
    kept: float | None = None
    """The share of requests whose traces are kept; None: there are no traces."""


STORED = "usage, in a data folder"
WATCHED: Mapping[str, Watched] = {
    "neither": Watched(),
    "usage, in memory": Watched(usage=True),
    STORED: Watched(usage=True, stored=True),
    "traces, none kept": Watched(kept=0.0),
    "traces, 1 % kept": Watched(kept=0.01),
    "traces, all kept": Watched(kept=1.0),
}
"""By the name in the table. The first is what the others are compared with."""


class Cost(NamedTuple):
    """CPU time in microseconds."""

    request: float
    """A chat of one token."""
    token: float
    """One of a stream, with its share of the stream's begin and end."""
    written: float = 0.0
    """Of usage, for all requests of some seconds together."""


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= more
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _made(url: str, folder: Path, watched: Watched) -> Bench:
    config = Config(
        alias="null",
        usage_days=400 if watched.usage else 0,
        data_dir=folder if watched.stored else None,
    )
    with _environment({} if watched.kept is None else tracing(url, watched.kept)):
        return Bench(config)


def _flush(tracer: Tracer | None) -> None:
    """Send what waits now, so that it counts as a part of what was measured."""
    if tracer is not None:
        tracer.flush()


async def _spent(bench: Bench, work: Callable[[], Awaitable[None]], times: int) -> float:
    """Return CPU microseconds of one of so many."""
    before = time.process_time_ns()
    for _ in range(times):
        await work()
    _flush(bench.gateway.tracer)
    return (time.process_time_ns() - before) / 1e3 / times


async def _write(bench: Bench) -> float:
    """Return CPU microseconds of writing what was counted, which happens every few seconds."""
    before = time.process_time_ns()
    await bench.gateway.accounts.flush()
    return (time.process_time_ns() - before) / 1e3


async def _measure(url: str, folder: Path, repeats: int, rounds: int) -> dict[str, list[Cost]]:
    benches = {name: _made(url, folder, each) for name, each in WATCHED.items()}
    streamed = orjson.dumps({**orjson.loads(ONE[CHAT]), "stream": True, "max_tokens": TOKENS})
    for bench in benches.values():
        await bench.gateway.start()
    await asyncio.sleep(SETTLE_S)
    apps = {name: bench.gateway.app() for name, bench in benches.items()}
    found: dict[str, list[Cost]] = {name: [] for name in WATCHED}
    names = list(benches)
    for number in range(-1, rounds):
        for at in range(len(names)):
            name = names[(at + number) % len(names)]
            bench, pool = benches[name], benches[name].pool
            request = await _spent(bench, served(apps[name], CHAT, bench.raw), repeats)
            streaming(pool, TOKENS)
            stream = await _spent(bench, served(apps[name], CHAT, streamed), max(1, repeats // 20))
            del pool.submit  # one answer in one turn again
            written = await _write(bench)
            if number >= 0:  # the first round warms up
                found[name].append(Cost(request, stream / TOKENS, written))
    for bench in benches.values():
        await bench.gateway.stop()
    return found


def measure(repeats: int, rounds: int) -> dict[str, list[Cost]]:
    """Return the costs of each round, by what is watched."""
    with (
        collecting() as url,
        tempfile.TemporaryDirectory(prefix="forge-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_measure(url, Path(folder) / "data", repeats, rounds))
