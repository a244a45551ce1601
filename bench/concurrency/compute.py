"""Requests that cost compute: where it happens decides what else still works.

The same tokens of the same model, in the event loop, in threads, in processes, and in Forge. Beside
the load a client asks GET /health all the time: that is the event loop's pulse. Then the process
that computes crashes, as native code does. Then thousands wait.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.connections.measure import Latency, probe
from bench.processes import PROC, children, cpu_seconds, memory
from bench.server import Server, running

from .connections import load
from .inference import WORKERS
from .subject import Subject, body

CLIENTS = 16
SETTLE_S = 0.4
RESTART_S = 1.5
"""Between a crash and the requests that come later."""
CRASHING = ("threads", "processes", "Forge")
"""A loop that computes dies as threads do."""
PATIENCE_S = 60
TIMEOUT_S = 10
SHAPE = ("--workers", str(WORKERS), "--threads", "1")
HOST = "bench.concurrency.host"
WAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "in the event loop": ((HOST, "infer-inline"), ()),
    "threads": ((HOST, "infer-threads"), ()),
    "processes": ((HOST, "infer-processes"), ()),
    "Forge, one slot each": ((), (*SHAPE, "--slots", "1", "--speculative", "off")),
    "Forge, no drafts": ((), (*SHAPE, "--slots", "8", "--speculative", "off")),
    "Forge": ((), (*SHAPE, "--slots", "8")),
}
"""The command, if it isn't `forge serve`, and its options. Greedy answers of small models repeat
themselves, which drafts make use of: what batches alone bring is to be seen, too."""


@dataclass(frozen=True, slots=True)
class Computed:
    """One way to compute, under the load of CLIENTS. Latencies in milliseconds."""

    way: str
    requests_s: float
    p50: float
    p99: float
    errors: int
    alone: Latency
    """Of GET /health without load."""
    health: Latency
    """The same beside the load."""
    cores: float
    """Cores that were busy, on average."""
    memory_mib: float
    """PSS of all processes."""

    @property
    def cpu_ms(self) -> float:
        """Return CPU milliseconds of a request, which other work on the machine hardly changes."""
        return 1000 * self.cores / self.requests_s if self.requests_s else math.nan


@dataclass(frozen=True, slots=True)
class Crash:
    """Outcomes of CLIENTS requests and as many afterwards, when the computing process crashed."""

    way: str
    failed: int
    """Of those that were being served, or waited."""
    failed_after: int
    """Of those that came RESTART_S later."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Many clients who wait for one slow answer."""

    server: str
    clients: int
    lost: int
    """Connections that the server ended, or never took."""
    threads: int
    """Of the process that holds the connections."""
    each_kib: float
    """Resident memory of that process, for each client."""
    stacks_mib: float
    """Memory that it reserved, if it did not use it."""
    health: Latency | None
    """None: there was no answer."""


@dataclass(frozen=True, slots=True)
class Compute:
    """The experiment."""

    subject: Subject
    computed: list[Computed]
    crashes: list[Crash]
    waiting: list[Waiting]

    def way(self, name: str) -> Computed:
        return next(found for found in self.computed if found.way == name)


def measure(subject: Subject, seconds: float, crowd: int, tick: Callable[[], None]) -> Compute:
    """All ways; crashes and ``crowd`` waiting clients if there are to be some, with any model."""
    computed, crashes = [], []
    for way in WAYS:
        with _up(way, subject) as server:
            computed.append(_loaded(way, server, seconds, subject.tokens))
            tick()
            if crowd and way in CRASHING:
                crashes.append(_crash(way, server, 4 * subject.tokens))
                tick()
    waiting = []
    for name in ("a thread each", "Forge") if crowd else ():
        waiting.append(_wait(name, crowd, seconds / 2))
        tick()
    return Compute(subject, computed, crashes, waiting)


def steps(crowd: int) -> int:
    """Return how often :func:`measure` ticks."""
    return len(WAYS) + (len(CRASHING) + 2 if crowd else 0)


@contextlib.contextmanager
def _up(way: str, subject: Subject) -> Iterator[Server]:
    """A server that has computed something in each of its workers."""
    command, options = WAYS[way]
    asked = {"command": command} if command else {}
    with running(*options, *subject.options, **asked) as server:
        if not command:
            server.wait_ready()
        warm(server)
        yield server


def warm(server: Server) -> None:
    """Ask until every worker has loaded the model and computed something with it."""
    url = f"{server.url}/infer"
    load(url, CLIENTS, SETTLE_S, body(1))
    with httpx.Client(timeout=PATIENCE_S) as client, ThreadPoolExecutor(2 * WORKERS) as askers:
        for answer in askers.map(lambda _: client.post(url, content=body(1)), range(2 * WORKERS)):
            answer.raise_for_status()


def _loaded(way: str, server: Server, seconds: float, tokens: int) -> Computed:
    alone = probe(server.url, SETTLE_S)
    pulse: list[Latency] = []
    prober = threading.Thread(target=lambda: pulse.append(probe(server.url, seconds)))
    before, start = _cpu(server), time.perf_counter()
    prober.start()
    found = load(f"{server.url}/infer", CLIENTS, seconds, body(tokens))
    cores = (_cpu(server) - before) / (time.perf_counter() - start)
    prober.join()
    held = sum(memory(process.pid).pss for process in server.family()) / 1024
    return Computed(
        way, found.rate, found.p50, found.p99, found.errors, alone, pulse[0], cores, held
    )


def _cpu(server: Server) -> float:
    """CPU seconds of all its processes."""
    return sum(cpu_seconds(process.pid) for process in server.family())


def _crash(way: str, server: Server, tokens: int) -> Crash:
    """SIGSEGV to the process that computes, while CLIENTS wait for answers of so many tokens."""
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as client:
        failures = list[bool]()

        def ask() -> None:
            try:
                failed = client.post("/infer", content=body(tokens)).status_code != 200
            except httpx.HTTPError:
                failed = True
            failures.append(failed)

        def together() -> int:
            failures.clear()
            askers = [threading.Thread(target=ask) for _ in range(CLIENTS)]
            for asker in askers:
                asker.start()
            if not hit:
                time.sleep(SETTLE_S / 5)
                hit.append(_computing(way, server))
                os.kill(hit[0], signal.SIGSEGV)
            for asker in askers:
                asker.join()
            return sum(failures)

        hit = list[int]()
        failed = together()
        time.sleep(RESTART_S)
        return Crash(way, failed, together())


def _computing(way: str, server: Server) -> int:
    """A process in which llama.cpp runs."""
    if way.startswith("Forge"):
        return int(server.workers()[0]["pid"])
    if way == "processes":
        return next(p.pid for p in children(server.pid) if "spawn_main" in p.command)
    return server.pid


def _wait(name: str, crowd: int, seconds: float) -> Waiting:
    """Run so many clients of a server that serves one at a time, each for a long time."""
    forge = ("--workers", "1", "--slots", "1", "--threads", "1", "--max-queue", str(crowd))
    study = {"command": (HOST, "infer-study")}
    with running(*forge) if name == "Forge" else running(**study) as server:
        with httpx.Client(timeout=PATIENCE_S) as client:
            client.post(f"{server.url}/infer", content=body(1)).raise_for_status()
        before = memory(server.pid).rss
        with _crowd(server.url, crowd) as lost:
            _settle(server.pid)
            held, threads, reserved = memory(server.pid).rss, *_threads(server.pid)
            try:
                health = probe(server.url, seconds)
            except OSError:
                health = None
            return Waiting(
                name, crowd, lost, threads, (held - before) / crowd, reserved / 1024, health
            )


def _settle(pid: int) -> None:
    """Wait until a server has stopped making threads."""
    before, end = -1, time.monotonic() + PATIENCE_S
    while _threads(pid)[0] != before and time.monotonic() < end:
        before = _threads(pid)[0]
        time.sleep(SETTLE_S)


@contextlib.contextmanager
def _crowd(url: str, number: int) -> Iterator[int]:
    """Clients who have asked and wait; the value is how many of them the server did not keep."""
    command = [sys.executable, "-m", "bench.concurrency.crowd", f"{url}/infer", str(number)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(body(400) + b"\n")
            process.stdin.flush()
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _threads(pid: int) -> tuple[int, int]:
    """Threads of a process, and KiB of memory that it reserved beyond what is resident."""
    lines = Path(PROC / str(pid) / "status").read_text().splitlines()
    fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
    sizes = (int(fields[name].split()[0]) for name in ("VmSize", "VmRSS"))
    size, resident = sizes
    return int(fields["Threads"]), size - resident
