"""Measurements while a crowd is there: the gateway's memory, the latency of GET /health."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.overload.measure import percentile
from bench.server import running

from .crowd import Kind

PACE_S = 0.005
"""Between two probes."""
HOLDERS = 200
"""Long generations that keep the only slot from the crowd; each takes seconds."""
SHAPE = ("--workers", "1", "--slots", "1", "--threads", "1", "--max-queue-bytes", "1073741824")


@dataclass(frozen=True, slots=True)
class Latency:
    """Of GET /health, in milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Result:
    """One kind of connection. ``before`` is the same server without them."""

    kind: Kind
    connections: int
    failed: int
    opening_s: float
    rss_before: int
    """Bytes."""
    rss: int
    before: Latency
    during: Latency

    @property
    def each_kib(self) -> float:
        """Memory of the gateway per connection."""
        return (self.rss - self.rss_before) / self.connections / 1024


def measure(kind: Kind, connections: int, seconds: float, tick: Callable[[int], None]) -> Result:
    """A fresh server, alone for so many seconds and then with the crowd for as many."""
    options = ("--max-queue", str(connections + HOLDERS), "--max-connections", "auto")
    with running(*SHAPE, *options) as server, contextlib.ExitStack() as stack:
        url, pid = server.url, server.pid
        # What waits must wait for something, also while the server is measured without the crowd.
        release = stack.enter_context(slot_held(url)) if kind == "streaming" else None
        probe(url, seconds / 4)
        rss_before, before = rss(pid), probe(url, seconds)
        start = time.monotonic()
        with crowd(kind, url, connections, tick) as finish:
            opening_s = time.monotonic() - start
            during = probe(url, seconds)
            held = rss(pid)
            failed = finish(release)
    return Result(kind, connections, failed, opening_s, rss_before, held, before, during)


def probe(url: str, seconds: float) -> Latency:
    """GET /health on one connection, one after another."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        connection.request("GET", "/health")
        body = connection.getresponse().read()
        found.append((time.perf_counter() - start) * 1000)
        assert b'"ok"' in body
        time.sleep(PACE_S)
    connection.close()
    return Latency(percentile(found, 0.5), percentile(found, 0.99))


def rss(pid: int) -> int:
    """Resident memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) * 1024


@contextlib.contextmanager
def slot_held(url: str) -> Iterator[Callable[[], None]]:
    """Keep the slot busy, at the highest priority, until the value is called."""
    address = urlsplit(url)
    body = json.dumps({"query": "count", "ignore_eos": True, "priority": 1000}).encode()
    head = b"POST /infer HTTP/1.1\r\nHost: forge\r\nContent-Length: %d\r\n\r\n" % len(body)
    holders = []
    for _ in range(HOLDERS):
        holders.append(socket.create_connection((address.hostname, address.port)))
        holders[-1].sendall(head + body)

    def release() -> None:
        while holders:
            holders.pop().close()

    try:
        yield release
    finally:
        release()


@contextlib.contextmanager
def crowd(
    kind: Kind, url: str, number: int, tick: Callable[[int], None]
) -> Iterator[Callable[[Callable[[], None] | None], int]]:
    """All connections of a process of their own. The value ends them; it returns how many failed.

    Its argument is called when the crowd listens: it lets the streams begin.
    """
    command = [sys.executable, "-m", "bench.connections.crowd", kind, url, str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    said = iter(process.stdout)

    def wait_for(word: str) -> int:
        for line in said:
            name, _, value = line.strip().partition(" ")
            if name == "open":
                tick(int(value))
            elif name == word:
                return int(value or 0)
        raise RuntimeError(f"the crowd ended with exit code {process.wait()}")

    def finish(release: Callable[[], None] | None) -> int:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        if release is not None:
            wait_for("listening")
            release()
        return wait_for("failed")

    try:
        wait_for("ready")
        yield finish
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
