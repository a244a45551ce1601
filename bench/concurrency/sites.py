"""Ten sites, fetched one after another, by a thread each, and by one event loop.

The study project fetched httpbin.org and Wikipedia; here a server of our own keeps each of them
waiting for as long, so the figures are those of waiting and of nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from bench.server import running

from .evented import application, serve_application

DELAYS = (2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.3, 0.3)
"""Seconds: the study project's list, whose last two were pages of Wikipedia."""
STUDY_S = {"one after another": 25.756, "a thread each": 3.787}
"""Measurements of the study project's author, over the internet."""
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Fetched:
    """One way to fetch them all."""

    way: str
    seconds: float
    failed: int


@dataclass(frozen=True, slots=True)
class Sites:
    """The experiment. ``delays`` are those of the server, in seconds."""

    delays: list[float]
    ways: list[Fetched]

    def seconds(self, way: str) -> float:
        return next(found.seconds for found in self.ways if found.way == way)


async def serve(listener: socket.socket) -> None:
    """A server at which POST /delay with a number as its body takes so many seconds."""

    async def wait(body: bytes) -> bytes:
        await asyncio.sleep(float(body))
        return b'{"waited": %s}' % body

    await serve_application(listener, application("/delay", wait))


def measure(scale: float, tick: Callable[[], None]) -> Sites:
    """All ways, one after the other; ``scale`` shortens the delays."""
    delays = [scale * delay for delay in DELAYS]
    ways = {"one after another": one_by_one, "a thread each": thread_each, "asyncio": in_a_loop}
    found = []
    with running(command=("bench.concurrency.host", "delays")) as server:
        for name, fetch in ways.items():
            start = time.perf_counter()
            answers = fetch(f"{server.url}/delay", delays)
            seconds = time.perf_counter() - start
            found.append(Fetched(name, seconds, sum(status != 200 for status in answers)))
            tick()
    return Sites(delays, found)


def one_by_one(url: str, delays: list[float]) -> list[int]:
    """The status of each."""
    with httpx.Client(timeout=PATIENCE_S) as client:
        return [client.post(url, content=str(delay)).status_code for delay in delays]


def thread_each(url: str, delays: list[float]) -> list[int]:
    """The same; the results have a lock, as the study project's, though append needs none."""
    found, lock = list[int](), threading.Lock()

    def fetch(delay: float) -> None:
        status = client.post(url, content=str(delay)).status_code
        with lock:
            found.append(status)

    with httpx.Client(timeout=PATIENCE_S) as client:
        threads = [threading.Thread(target=fetch, args=(delay,)) for delay in delays]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def in_a_loop(url: str, delays: list[float]) -> list[int]:
    """The same in one thread."""
    return asyncio.run(_together(url, delays))


async def _together(url: str, delays: list[float]) -> list[int]:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        asked = (client.post(url, content=str(delay)) for delay in delays)
        return [answer.status_code for answer in await asyncio.gather(*asked)]
