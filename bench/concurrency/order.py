"""More work than can be done: in the order of arrival, and in that of priority and age.

Each gets as much more than it can do, so that it is the order that differs.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from bench.overload.load import CLASSES, Arrival, poisson
from bench.overload.measure import percentile
from bench.server import Server, running

from .compute import CLIENTS, HOST, SHAPE, body
from .connections import load

OVERLOAD = 1.5
TOKENS = 128
WARM_S = 0.3
CALIBRATE = 2 * CLIENTS
"""Requests from which the capacity is known."""
PATIENCE_S = 300


@dataclass(frozen=True, slots=True)
class Served:
    """A request. Times in seconds from the start of the run."""

    class_: str
    arrived_s: float
    ended_s: float
    status: int

    @property
    def took_s(self) -> float:
        return self.ended_s - self.arrived_s


@dataclass(frozen=True, slots=True)
class Order:
    """The experiment: what both made of the same arrivals."""

    capacity: dict[str, float]
    """Requests a second that each can do."""
    seconds: float
    """How long requests arrive."""
    found: dict[str, list[Served]]
    """By server: "pool" and "Forge"."""

    def times(self, server: str, class_: str) -> list[float]:
        """From arrival to the end of the answer."""
        return [s.took_s for s in self.found[server] if s.class_ == class_ and s.status == 200]

    def percentile(self, server: str, class_: str, q: float) -> float:
        return percentile(self.times(server, class_), q)


def measure(seconds: float, tick: Callable[[], None]) -> Order:
    """First the pool and then Forge; who is not asked is idle."""
    with (
        running(command=(HOST, "infer-processes")) as pool,
        running(*SHAPE, "--slots", "8") as forge,
    ):
        forge.wait_ready()
        servers = {"pool": pool, "Forge": forge}
        capacity = {name: _capacity(server) for name, server in servers.items()}
        found = dict[str, list[Served]]()
        for name, server in servers.items():
            arrivals = poisson(OVERLOAD * capacity[name], seconds, "order")
            found[name] = asyncio.run(_run(server.url, arrivals))
            tick()
    return Order(capacity, seconds, found)


STEPS = 2
"""How often :func:`measure` ticks."""


def _capacity(server: Server) -> float:
    """Requests a second, once all its workers are warm: all at once, for however long it takes."""
    url = f"{server.url}/infer"
    with httpx.Client(timeout=PATIENCE_S) as client:
        client.post(url, content=body(1)).raise_for_status()
    load(url, CLIENTS, WARM_S, body(1))
    served = asyncio.run(_run(server.url, [Arrival(0.0, "normal")] * CALIBRATE))
    return CALIBRATE / max(s.ended_s for s in served)


async def _run(url: str, arrivals: list[Arrival]) -> list[Served]:
    """Send every arrival at its time, and wait for all answers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE_S) as client:
        start, tasks = time.monotonic(), list[asyncio.Task[Served]]()
        for arrival in arrivals:
            await asyncio.sleep(max(0.0, start + arrival.at_s - time.monotonic()))
            tasks.append(asyncio.create_task(_ask(client, arrival.class_, start)))
        return await asyncio.gather(*tasks)


async def _ask(client: httpx.AsyncClient, class_: str, start: float) -> Served:
    arrived = time.monotonic() - start
    content = json.dumps({**json.loads(body(TOKENS)), "priority": class_})
    answer = await client.post("/infer", content=content)
    return Served(class_, arrived, time.monotonic() - start, answer.status_code)


def summary(order: Order) -> list[tuple[str, str, int, int, float, float, float]]:
    """Class, server, requests, refused, and p50, p99 and the longest time, in seconds."""
    rows = []
    for class_ in CLASSES:
        for server, served in order.found.items():
            mine = [s for s in served if s.class_ == class_]
            times = order.times(server, class_)
            rows.append(
                (
                    class_, server, len(mine), sum(s.status != 200 for s in mine),
                    percentile(times, 0.5), percentile(times, 0.99), max(times, default=0.0),
                )
            )  # fmt: skip
    return rows
