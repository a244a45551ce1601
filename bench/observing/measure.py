"""Measurements: CPU time of tokens and requests by who watches, and the time of scrapes."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import httpx

from bench.gateway.measure import CHAT, HOST, INFER, ONE, PACE_S, STREAMS, TALK, ask, client, stream
from bench.processes import cpu_us
from bench.server import Server, running

from .collecting import collecting
from .stages import Added
from .traces import Cost

PAGE = "/dashboard/events"
SCRAPE = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
    "Connection": "keep-alive",
}
"""Headers of Prometheus."""
CONNECTIONS = 32
"""Clients that send one request after another."""
SLOTS = 16
"""Of the real server."""

Watch = Callable[[Server], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """A way to be watched."""

    name: str
    observe: str
    """The server's own work, see `bench.gateway.host`."""
    watch: Watch = lambda server: contextlib.nullcontext()
    """Somebody who looks while it is measured."""
    ratio: float | None = None
    """The share of requests whose traces are kept, if there are traces."""

    def options(self, collector: str) -> tuple[str, ...]:
        """Return the options of a server that is watched so; ``collector``: its URL."""
        if self.ratio is None:
            return ()
        return ("--collector", collector, "--ratio", str(self.ratio))


@dataclass(frozen=True, slots=True)
class Scrapes:
    """Scrapes of one server, one after another; times in milliseconds, as the client sees them."""

    size: int
    """Bytes of the last one."""
    times: list[float]
    health: list[float]
    """Requests for /health between them: what of the time is the machine's and the loop's."""
    waiting: int
    """Requests in the queue at the last one."""


@dataclass(slots=True)
class Results:
    """Lists hold one entry for each round."""

    costs: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """CPU time in microseconds of one unit, by what the unit is and the way's name."""
    scrapes: dict[str, Scrapes] = field(default_factory=dict)
    """By what the server does meanwhile."""
    stages: dict[str, Added] = field(default_factory=dict)
    """By who counts."""
    watched: dict[str, list[Cost]] = field(default_factory=dict)
    """Costs of usage and traces in one process."""


@contextlib.contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run ``work`` in a thread; it is told when to end."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def scraping(server: Server) -> AbstractContextManager[None]:
    """Prometheus, in a hurry: fifteen times as often as by its default."""

    def work(ended: threading.Event) -> None:
        with httpx.Client(headers=SCRAPE) as prometheus:
            while not ended.wait(1):
                prometheus.get(server.url + "/metrics").raise_for_status()

    return _beside(work)


def viewing(server: Server) -> AbstractContextManager[None]:
    """A browser that shows the live page."""

    def work(ended: threading.Event) -> None:
        with httpx.stream("GET", server.url + PAGE, timeout=60) as response:
            for _ in response.raise_for_status().iter_raw():
                if ended.is_set():
                    return

    return _beside(work)


def has_page(server: Server) -> bool:
    """Return whether there is a live page at all."""
    with httpx.stream("GET", server.url + PAGE, timeout=60) as response:
        return response.status_code != 404


WAYS = (
    Way("nothing", "nothing"),
    Way("metrics", "metrics"),
    Way("metrics, scraped each second", "metrics", scraping),
    Way("metrics, and the live page is open", "metrics", viewing),
    Way("metrics, and usage by key and model", "usage"),
    Way("metrics, and a line of log for each request", "log"),
    Way("metrics, and traces of 1 % of the requests", "traces", ratio=0.01),
    Way("metrics, and traces of all requests", "traces", ratio=1.0),
)
"""The first is what the others are compared with."""


def _unit_us(server: Server, work: Callable[[], int]) -> float:
    """Return the server's CPU time for each of the units that ``work`` returns the number of."""
    before = cpu_us(server.pid)
    units = work()
    return (cpu_us(server.pid) - before) / units


def _stream(server: Server, tokens: int) -> int:
    found = stream(server, STREAMS, tokens).found
    assert not found.failed
    return found.answered


def _ask(server: Server, seconds: float) -> int:
    found = ask(server, INFER, CONNECTIONS, seconds, ONE[INFER]).found
    assert not found.failed
    return found.answered


def _host(pace_s: float, observe: str, *more: str) -> AbstractContextManager[Server]:
    return running("forge", "--pace", str(pace_s), "--observe", observe, *more, command=HOST)


def costs(
    results: Results, rounds: int, tokens: int, seconds: float, tick: Callable[[], None]
) -> None:
    """All ways in turns, in another order each round: tokens that come at a pace, tokens as fast as
    they go, and requests for one token.
    """
    slow = f"token, {STREAMS} streams with one each {1000 * PACE_S:.0f} ms"
    fast, request = f"token, {STREAMS} streams as fast as they go", "request"
    with ExitStack() as stack:
        url = stack.enter_context(collecting())
        servers = {
            (pace, way.observe, way.ratio): stack.enter_context(
                _host(pace, way.observe, *way.options(url))
            )
            for pace in (0.0, PACE_S)
            for way in {(way.observe, way.ratio): way for way in WAYS}.values()
        }
        page = has_page(servers[0.0, "metrics", None])
        ways = [way for way in WAYS if page or way.watch is not viewing]
        for number in range(-1, rounds):
            for at in range(len(ways)):
                way = ways[(at + number) % len(ways)]
                paced, free = (servers[pace, way.observe, way.ratio] for pace in (PACE_S, 0.0))
                for unit, server, work in (
                    (slow, paced, partial(_stream, paced, tokens)),
                    (fast, free, partial(_stream, free, 10 * tokens)),
                    (request, free, partial(_ask, free, seconds)),
                ):
                    with way.watch(server):
                        cost = _unit_us(server, work)
                    if number >= 0:  # the first round warms up
                        results.costs.setdefault((unit, way.name), []).append(cost)
            tick()


def scrapes(results: Results, number: int, clients: int) -> None:
    """Of a real server that does nothing, and of one where all cores compute and others wait."""
    shape = ("--workers", "2", "--slots", str(SLOTS // 2), "--threads", "1")
    with running(*shape) as server:
        server.wait_ready()
        results.scrapes["nothing"] = scrape(server, number)
        body = json.dumps({**TALK, "max_tokens": 64, "ignore_eos": True}).encode()
        with client("ask", server.url + CHAT, clients, 600, body):
            while server.get("/metrics")["queue_depth"] < 0.9 * (clients - SLOTS):
                time.sleep(0.1)
            results.scrapes[f"{SLOTS} generations on all cores"] = scrape(server, number)


def scrape(server: Server, number: int) -> Scrapes:
    """Make so many scrapes, on one connection as Prometheus does it."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def get(path: str) -> tuple[float, bytes]:
        time.sleep(0.05)
        start = time.perf_counter()
        connection.request("GET", path, headers=SCRAPE)
        body = connection.getresponse().read()
        return 1000 * (time.perf_counter() - start), body

    with contextlib.closing(connection):
        pairs = [(get("/metrics"), get("/health")) for _ in range(number)]
    body = pairs[-1][0][1]
    assert body.endswith(b"# EOF\n")
    times, health = [a for (a, _), _ in pairs], [b for _, (b, _) in pairs]
    return Scrapes(len(body), times, health, server.get("/metrics")["queue_depth"])
