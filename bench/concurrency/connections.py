"""POST /reverse at more and more connections: who waits for whom, and who keeps to HTTP."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.server import running

from .client import Found

SERVERS = ("sequential", "threads", "asyncio", "starlette")
STUDY_SERVERS = {"study-threads": "threads", "study-asyncio": "asyncio"}
"""The study project's servers, and ours that differ from them in keeping to HTTP."""
STUDY_RATES = {"threads": 1650, "asyncio": 11326}
"""Requests a second of the study project's servers at 1,000 connections, as its author measured."""
BODY = json.dumps({"text": "forge keeps its promises"}).encode()
LONG_BODY = json.dumps({"text": "forge " * 400}).encode()
"""More than the study project reads."""
FEW = 8
"""Connections where it is errors that count."""
SCRIPT = Path(__file__).parent.parent / "reverse.lua"
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Rate:
    """One server under load. Latencies in milliseconds."""

    server: str
    connections: int
    wait_s: float
    """Of each request, for I/O."""
    requests_s: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True)
class Errors:
    """The findings of a careful client."""

    server: str
    request: str
    """The request that was sent, in words."""
    found: Found


@dataclass(frozen=True, slots=True)
class Connections:
    """The experiment."""

    tool: str
    """The program that made the load."""
    rates: list[Rate]
    errors: list[Errors]

    def rate(self, server: str, connections: int, wait_s: float) -> Rate:
        return next(
            rate
            for rate in self.rates
            if (rate.server, rate.connections, rate.wait_s) == (server, connections, wait_s)
        )


def measure(
    counts: list[int], waits: list[float], seconds: float, tick: Callable[[], None]
) -> Connections:
    """Every server at so many connections, with each wait in its requests."""
    wrk = shutil.which("wrk")
    rates = []
    for wait_s in waits:
        for name in SERVERS:
            for connections in counts:
                # A server for each: it may still work for the connections of the last run.
                with running("--wait", str(wait_s), command=_host(name)) as server:
                    url = f"{server.url}/reverse"
                    rates.append(_rate(wrk, url, name, connections, wait_s, seconds))
                tick()
    return Connections("wrk" if wrk else "the built-in client", rates, _errors(seconds, tick))


def _rate(
    wrk: str | None, url: str, name: str, connections: int, wait_s: float, seconds: float
) -> Rate:
    if wrk is not None:
        return read_wrk(_wrk(wrk, url, connections, seconds), name, connections, wait_s)
    found = load(url, connections, seconds, BODY)
    return Rate(name, connections, wait_s, found.rate, found.p50, found.p99, found.errors)


def _errors(seconds: float, tick: Callable[[], None]) -> list[Errors]:
    """The same requests to the study project's servers and to ours."""
    requests = {
        "a short body": (BODY, 1),
        f"a body of {len(LONG_BODY):,} bytes": (LONG_BODY, 1),
        "head and body in two packets": (BODY, 2),
    }
    found = []
    for name in (*STUDY_SERVERS, *STUDY_SERVERS.values()):
        with running(command=_host(name)) as server:
            for words, (body, parts) in requests.items():
                url = f"{server.url}/reverse"
                found.append(Errors(name, words, load(url, FEW, seconds / 2, body, parts=parts)))
                tick()
    return found


def steps(counts: list[int], waits: list[float]) -> int:
    """Return the number of ticks of :func:`measure`."""
    return len(SERVERS) * len(counts) * len(waits) + 3 * 2 * len(STUDY_SERVERS)


def _host(name: str) -> tuple[str, str]:
    return ("bench.concurrency.host", name)


def load(url: str, connections: int, seconds: float, body: bytes, *, parts: int = 1) -> Found:
    """The built-in client, in a process of its own."""
    command = [
        sys.executable, "-m", "bench.concurrency.client", url, str(connections), str(seconds),
        "--parts", str(parts),
    ]  # fmt: skip
    done = subprocess.run(
        command, input=body, capture_output=True, check=True, timeout=seconds + PATIENCE_S
    )
    return msgspec.json.decode(done.stdout, type=Found)


def _wrk(wrk: str, url: str, connections: int, seconds: float) -> str:
    threads = min(4, connections)
    command = [
        wrk, f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency",
        "-s", str(SCRIPT), url,
    ]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, check=True, text=True, timeout=seconds + PATIENCE_S
    ).stdout


def read_wrk(said: str, server: str, connections: int, wait_s: float) -> Rate:
    """wrk's report as a rate; requests that were never answered are not in its latencies."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert rate is not None, said
    times = {}
    for quantile in ("50", "99"):
        time = re.search(rf"\s{quantile}%\s+([\d.]+)([a-z]+)", said)
        times[quantile] = float(time[1]) * UNITS[time[2]] if time else float("nan")
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    failed = sum(map(int, errors.groups())) if errors else 0
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    failed += int(other[1]) if other else 0
    return Rate(server, connections, wait_s, float(rate[1]), times["50"], times["99"], failed)
