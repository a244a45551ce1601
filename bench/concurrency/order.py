"""More work than can be done: in the order of arrival, and in that of priority and age.

Each gets as much more than it can do, so that it is the order that differs. What the order itself
costs shows where the same requests come to Forge as one class, in turns with the mixed ones.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import httpx

from bench.overload.load import CLASSES, Arrival, poisson
from bench.overload.measure import percentile
from bench.server import Server, running

from .compute import HOST, SHAPE, warm
from .subject import Subject, body

OVERLOAD = 1.5
ROUNDS = 3
"""In which the servers, or the orders, take turns."""
PART = 0.5
"""Part of the whole time of arrivals that is in a round."""
PATIENCE_S = 600


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

    subject: Subject
    capacity: dict[str, float]
    """Requests a second that each can do."""
    classes: dict[str, float]
    """Requests a second that Forge did: of "one class", and "mixed"."""
    seconds: float
    """Time in which requests arrive."""
    found: dict[str, list[Served]]
    """By server: "pool" and "Forge"."""

    def times(self, server: str, class_: str) -> list[float]:
        """From arrival to the end of the answer."""
        return [s.took_s for s in self.found[server] if s.class_ == class_ and s.status == 200]

    def percentile(self, server: str, class_: str, q: float) -> float:
        return percentile(self.times(server, class_), q)


def measure(subject: Subject, seconds: float, tick: Callable[[], None]) -> Order:
    """First the pool and then Forge; the one that is not asked is idle."""
    with (
        running(*subject.options, command=(HOST, "infer-processes")) as pool,
        running(*SHAPE, "--slots", "8", *subject.options) as forge,
    ):
        forge.wait_ready()
        servers = {"pool": pool, "Forge": forge}
        for server in servers.values():
            warm(server)
        at_once = [Arrival(0.0, "normal")] * subject.calibrate

        def run(server: Server, arrivals: Sequence[Arrival]) -> list[Served]:
            return asyncio.run(_run(server.url, arrivals, subject.order_tokens))

        capacity = _in_turns(
            {
                "pool": lambda: rate(run(pool, at_once)),
                "Forge": lambda: rate(run(forge, at_once)),
            }
        )
        tick()
        arrivals = {name: poisson(OVERLOAD * capacity[name], seconds, "order") for name in servers}
        mixed = [arrival for arrival in arrivals["Forge"] if arrival.at_s < PART * seconds]
        alike = [replace(arrival, class_="normal") for arrival in mixed]
        classes = _in_turns(
            {
                "one class": lambda: rate(run(forge, alike)),
                "mixed": lambda: rate(run(forge, mixed)),
            }
        )
        tick()
        found = dict[str, list[Served]]()
        for name, server in servers.items():
            found[name] = run(server, arrivals[name])
            tick()
    return Order(subject, capacity, classes, seconds, found)


STEPS = 4
"""Number of ticks of :func:`measure`."""


def _in_turns(ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Measure each in every round, in another order; return medians."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name in list(ways) if number % 2 else reversed(ways):
            found[name].append(ways[name]())
    return {name: statistics.median(rates) for name, rates in found.items()}


def rate(served: Sequence[Served]) -> float:
    """Return the requests a second from the start to the last answer."""
    return sum(s.status == 200 for s in served) / max(s.ended_s for s in served)


async def _run(url: str, arrivals: Sequence[Arrival], tokens: int) -> list[Served]:
    """Send every arrival at its time, and wait for all answers."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE_S) as client:
        start, tasks = time.monotonic(), list[asyncio.Task[Served]]()
        for arrival in arrivals:
            await asyncio.sleep(max(0.0, start + arrival.at_s - time.monotonic()))
            content = body(tokens, arrival.class_)
            tasks.append(asyncio.create_task(_ask(client, arrival.class_, content, start)))
        return await asyncio.gather(*tasks)


async def _ask(client: httpx.AsyncClient, class_: str, content: bytes, start: float) -> Served:
    arrived = time.monotonic() - start
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
