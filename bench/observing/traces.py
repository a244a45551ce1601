"""The cost of traces for a request: all of the application, in one process and in turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Mapping

import uvloop

from bench.gateway.host import tracing
from bench.gateway.measure import CHAT
from bench.gateway.stages import Bench, served
from gateway.tracing.tracer import Tracer

from .collecting import collecting

KEPT: Mapping[str, float | None] = {
    "off": None,
    "on, none kept": 0.0,
    "on, 1 % kept": 0.01,
    "on, all kept": 1.0,
}
"""The share of requests whose traces are kept, by the name in the table."""


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= more
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _made(url: str, ratio: float | None) -> Bench:
    with _environment({} if ratio is None else tracing(url, ratio)):
        return Bench()


def _flush(tracer: Tracer | None) -> None:
    """Send what waits now, so that it counts as a part of what was measured."""
    if tracer is not None:
        tracer.flush()


async def _measure(url: str, repeats: int, rounds: int) -> dict[str, list[float]]:
    benches = {name: _made(url, ratio) for name, ratio in KEPT.items()}
    works = {name: served(bench.gateway.app(), CHAT, bench.raw) for name, bench in benches.items()}
    for bench in benches.values():
        await bench.gateway.start()
    found: dict[str, list[float]] = {name: [] for name in KEPT}
    for number in range(-1, rounds):
        for name, bench in benches.items():
            before = time.process_time_ns()
            for _ in range(repeats):
                await works[name]()
            _flush(bench.gateway.tracer)
            if number >= 0:  # the first round warms up
                found[name].append((time.process_time_ns() - before) / 1e3 / repeats)
    for bench in benches.values():
        await bench.gateway.stop()
    return found


def measure(repeats: int, rounds: int) -> dict[str, list[float]]:
    """CPU time in microseconds of a request, for each round, by which traces are kept."""
    with collecting() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(url, repeats, rounds))
