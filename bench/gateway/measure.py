"""Measurements: requests and streams, beside the echo, and the lag of the event loop."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bench.processes import cpu_seconds, memory
from bench.server import Server, running

from .client import Found

HOST = ("bench.gateway.host",)
TALK = {"messages": [{"role": "user", "content": "word " * 50}]}
ECHO, CHAT, INFER = "echo", "/v1/chat/completions", "/infer"
ONE: dict[str, bytes] = {
    ECHO: json.dumps({**TALK, "max_tokens": 1}).encode(),
    CHAT: json.dumps({**TALK, "max_tokens": 1}).encode(),
    INFER: json.dumps({"query": "word " * 50, "max_tokens": 1}).encode(),
}
"""A request of each way for one token, about 300 bytes."""
LATENCY_CLIENTS = 32
SPREAD_S = 0.32
"""Between an answer and the next request where latency is what is measured: with 32 clients some
100 requests a second, so that they queue at neither server."""
STREAMS = 32
PACE_S = 0.02
"""Between two tokens of a stream: 1,600 a second in all, each an event and a write of its own."""


@dataclass(frozen=True, slots=True)
class Rate:
    """One run of one way. ``cpu_us`` is the server process's, for each request or token."""

    found: Found
    cpu_us: float

    @property
    def per_second(self) -> float:
        return self.found.answered / self.found.seconds


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of the event loop, in milliseconds."""

    p99: float
    """The upper bound of the histogram's bucket."""
    worst: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """Many streams at once."""

    streams: int
    failed: int
    seconds: float
    rss_before: int
    """Of the gateway in KiB."""
    rss: int
    """The same while all were open."""
    tokens_per_second: float
    lag: Lag

    @property
    def each_kib(self) -> float:
        return (self.rss - self.rss_before) / self.streams


@dataclass(slots=True)
class Results:
    """Everything; lists hold one entry for each round."""

    closed: dict[tuple[str, int], list[Rate]] = field(default_factory=dict)
    """Requests one after another, by way and connections."""
    spread: dict[str, list[Rate]] = field(default_factory=dict)
    """Requests with pauses, by way."""
    paced: list[Rate] = field(default_factory=list)
    flood: list[Rate] = field(default_factory=list)
    crowd: Crowd | None = None
    lags: dict[str, list[Lag]] = field(default_factory=dict)
    """By what the workers did."""


@contextlib.contextmanager
def client(
    kind: str, url: str, connections: int, amount: float, body: bytes, pause: float = 0.0
) -> Iterator[Iterator[str]]:
    """The process that asks; the value gives the lines it says."""
    command = [sys.executable, "-m", "bench.gateway.client", kind, url]
    command += [str(connections), str(amount), "--pause", str(pause)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(body)
        process.stdin.close()
        yield (line.decode().strip() for line in process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _found(lines: Iterator[str]) -> Found:
    """The result, which is the last line."""
    said = list(lines)
    if not said or not said[-1].startswith("{"):
        raise RuntimeError("the client ended without a result")
    return msgspec.json.decode(said[-1], type=Found)


def ask(
    server: Server, path: str, connections: int, seconds: float, body: bytes, pause: float = 0.0
) -> Rate:
    """Requests for so many seconds."""
    before = cpu_seconds(server.pid)
    with client("ask", server.url + path, connections, seconds, body, pause) as lines:
        found = _found(lines)
    return Rate(found, 1e6 * (cpu_seconds(server.pid) - before) / found.answered)


def stream(server: Server, streams: int, tokens: int) -> Rate:
    """Chats of so many tokens each, all at once."""
    before = cpu_seconds(server.pid)
    with client("stream", server.url + CHAT, streams, tokens, _streaming(tokens)) as lines:
        found = _found(lines)
    return Rate(found, 1e6 * (cpu_seconds(server.pid) - before) / found.answered)


def _streaming(tokens: int) -> bytes:
    return json.dumps({**TALK, "stream": True, "max_tokens": tokens}).encode()


def requests(
    results: Results, rounds: int, seconds: float, connections: tuple[int, ...], tokens: int,
    tick: Callable[[], None],
) -> None:  # fmt: skip
    """The gateway beside the echo, taking turns; and tokens as fast as they go."""
    with running("forge", command=HOST) as forge, running("echo", command=HOST) as echo:
        for _ in range(rounds):
            for number in connections:
                for way, body in ONE.items():
                    server, path = (echo, "/") if way == ECHO else (forge, way)
                    rate = ask(server, path, number, seconds, body)
                    results.closed.setdefault((way, number), []).append(rate)
            for way, body in ONE.items():
                server, path = (echo, "/") if way == ECHO else (forge, way)
                rate = ask(server, path, LATENCY_CLIENTS, 2 * seconds, body, SPREAD_S)
                results.spread.setdefault(way, []).append(rate)
            results.flood.append(stream(forge, STREAMS, 10 * tokens))
            tick()


def streams(results: Results, rounds: int, tokens: int, tick: Callable[[], None]) -> None:
    """Return the cost of a streamed token that is a write of its own."""
    with running("forge", "--pace", str(PACE_S), command=HOST) as server:
        for _ in range(rounds):
            results.paced.append(stream(server, STREAMS, tokens))
            tick()


def crowd(results: Results, number: int, tokens: int, pace_s: float) -> None:
    """Run so many streams at once, each a token every ``pace_s`` seconds."""
    options = ("--pace", str(pace_s), "--slots", str(number))
    with running("forge", *options, command=HOST) as server:
        stream(server, 8, 2)  # what is allocated once is there
        rss_before = memory(server.pid).rss
        url, body = server.url + CHAT, _streaming(tokens)
        with client("stream", url, number, tokens, body) as lines:
            assert next(lines, None) == "open", "not all streams began"
            rss = memory(server.pid).rss
            with lag(server) as late:
                time.sleep(tokens * pace_s / 2)
            found = _found(lines)
        results.crowd = Crowd(
            number, found.failed, found.seconds, rss_before, rss,
            found.answered / found.seconds, late[0],
        )  # fmt: skip


def lags(results: Results, rounds: int, seconds: float, tick: Callable[[], None]) -> None:
    """The loop's lag while two workers of the embedded model idle, and while all cores compute."""
    with running("--workers", "2", "--slots", "8", "--threads", "1") as server:
        server.wait_ready()
        for _ in range(rounds):
            with lag(server) as late:
                time.sleep(seconds)
            results.lags.setdefault("nothing", []).extend(late)
            with busy(server, 16), lag(server) as late:
                time.sleep(seconds)
            results.lags.setdefault("16 streams, all cores compute", []).extend(late)
            tick()


@contextlib.contextmanager
def busy(server: Server, streams: int) -> Iterator[None]:
    """Keep so many endless streams, until the block ends."""
    body = {**TALK, "stream": True, "ignore_eos": True, "temperature": 1.5}
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            with httpx.stream("POST", server.url + CHAT, json=body, timeout=60) as response:
                for _ in response.iter_raw():
                    if ended.is_set():
                        return

    threads = [threading.Thread(target=read) for _ in range(streams)]
    for thread in threads:
        thread.start()
    try:
        while sum(worker["busy"] for worker in server.workers()) < streams:
            time.sleep(0.02)
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def lag(server: Server) -> Iterator[list[Lag]]:
    """The lag while the block runs; it is in the list afterwards."""
    before, found = _lag_buckets(server), list[Lag]()
    yield found
    after = _lag_buckets(server)
    counts = {bound: after[bound] - before[bound] for bound in after}
    total = counts[float("inf")]
    bounds = sorted(counts)
    p99 = next(bound for bound in bounds if counts[bound] >= 0.99 * total)
    worst = next(bound for bound in bounds if counts[bound] >= total)
    found.append(Lag(1000 * p99, 1000 * worst))


def _lag_buckets(server: Server) -> dict[float, float]:
    """Return how often the lag was no more than so many seconds."""
    text = httpx.get(server.url + "/metrics", headers={"Accept": "text/plain"}, timeout=60).text
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(text)
        if family.name == "forge_event_loop_lag_seconds"
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
