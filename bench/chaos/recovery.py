"""The pause that the streams of a killed worker see."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.server import Server

from .asking import PROMPTS, Request
from .clients import PATIENCE_S, Clients, Outcome
from .experiment import exact_model

STREAMS = 4
SLOTS = 4
BEFORE, AFTER = 60, 60
"""Tokens that a stream has before the blow, and after it before its client leaves."""
FAR = 1500
"""Tokens that no stream gets to."""


@dataclass(slots=True)
class Recovery:
    """Seconds. ``gaps`` are the median gaps between two tokens before the blow."""

    pauses: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    lost: int = 0
    """Streams that did not go on."""


async def measure(
    workers: int, rounds: int, number: signal.Signals, tick: Callable[[], None]
) -> Recovery:
    """Strike worker 0 of ``workers`` with ``number``, so many times; all slots needed are free."""
    found = Recovery()
    with tempfile.TemporaryDirectory() as folder:
        # Without drafts, which bring many tokens at once: streams must last, and gaps be of tokens.
        options = ("--workers", str(workers), "--slots", str(SLOTS), "--speculative", "off",
                   *exact_model(Path(folder)))  # fmt: skip
        server = Server(*options, log=Path(folder) / "stderr")
        clients = Clients(server.url)
        try:
            for _ in range(rounds):
                server.wait_ready()
                await _round(server, clients, number, found)
                tick()
        finally:
            await clients.close()
            server.stop()
    return found


async def _round(server: Server, clients: Clients, number: signal.Signals, found: Recovery) -> None:
    streams = [Outcome(_long(index)) for index in range(STREAMS)]
    tasks = [asyncio.create_task(clients.follow(stream)) for stream in streams]
    await _until(lambda: all(len(stream.stamps) >= BEFORE for stream in streams))
    victim = (await asyncio.to_thread(server.workers))[0]
    at = time.monotonic()
    os.kill(victim["pid"], number)
    await _until(lambda: all(_since(stream, at) >= AFTER or stream.error for stream in streams))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    widest = sorted((_widest(stream, at) for stream in streams), reverse=True)
    # Its own streams are those that waited longest: the others' workers went on.
    found.pauses += widest[: victim["busy"]]
    found.lost += sum(bool(stream.error) for stream in streams)
    found.gaps += [median(_gaps(stream, 0, at)) for stream in streams]


async def _until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if check():
                return
            await asyncio.sleep(0.005)


def _long(index: int) -> Request:
    params = {"temperature": 0, "ignore_eos": True, "max_tokens": FAR}
    return Request(index, "completions", True, PROMPTS[index], tuple(params.items()))


def _since(stream: Outcome, at: float) -> int:
    return sum(stamp > at for stamp in stream.stamps)


def _gaps(stream: Outcome, first: float, last: float) -> list[float]:
    """The gaps that end or begin between two moments."""
    pairs = itertools.pairwise(stream.stamps)
    return [b - a for a, b in pairs if b > first and a < last]


def _widest(stream: Outcome, at: float) -> float:
    """The widest gap around or soon after ``at``: what was under way still comes."""
    return max(_gaps(stream, at, float("inf")))
