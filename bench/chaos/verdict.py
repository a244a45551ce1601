"""Whether a client noticed anything, and what a server has left behind. Nothing is forgiven."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.processes import Process, children, open_files, process
from bench.server import Server

from .clients import Answer, Outcome

PAUSE_S = 0.1
"""A shorter gap between two tokens is no pause: a busy machine makes such."""
TRACKER = "resource_tracker"
"""In the command of the process that multiprocessing starts beside the workers."""
SETTLE_S = 60
"""Ends a wait for a server to calm down that will not."""


def mismatch(outcome: Outcome, twin: Answer) -> str:
    """How it differs from its undisturbed twin; empty if it does not. For those without an error.

    What came before a hang-up must be the beginning of the twin's texts.
    """
    if outcome.answer is not None:
        return "" if outcome.answer == twin else f"{outcome.answer} instead of {twin}"
    for got, whole in zip(outcome.texts, twin.texts, strict=True):
        if not whole.startswith(got):
            return f"{got!r} is no beginning of {whole!r}"
    return ""


def pauses(outcome: Outcome, deaths: Iterable[float]) -> list[float]:
    """The stream's gaps in which a worker died, if they were long enough to be its own: seconds."""
    stamps = outcome.stamps
    gaps = [(a, b) for a, b in itertools.pairwise(stamps) if b - a > PAUSE_S]
    return [b - a for a, b in gaps if any(a < at < b for at in deaths)]


@dataclass(slots=True)
class Remains:
    """What a server holds when nobody asks anything of it: all zero, or it leaks."""

    files: int = 0
    """File descriptors of the gateway more than there were at the beginning."""
    busy: int = 0
    queued: int = 0
    running: int = 0
    parked: int = 0
    cells: int = 0
    """KV cells that belong to no finished sequence kept for its prefix."""
    unready: int = 0
    """Workers that do not serve."""
    unhealthy: str = ""
    strangers: list[str] = field(default_factory=list)
    """Children of the gateway that are neither workers nor multiprocessing's resource tracker."""

    @property
    def nothing(self) -> bool:
        return self == Remains()


def files(server: Server) -> int:
    """File descriptors of the gateway once the connection that asked last is closed, too."""
    counts = []
    for _ in range(10):
        time.sleep(0.03)
        counts.append(open_files(server.pid))
    return min(counts)


def remains(server: Server, files_before: int) -> Remains:
    """What the server holds now; ``files_before`` is what :func:`files` said first."""
    workers: list[dict[str, Any]] = server.workers()
    health = server.get("/health")
    pids = {worker["pid"] for worker in workers}
    return Remains(
        files=files(server) - files_before,
        busy=sum(worker["busy"] for worker in workers),
        queued=server.get("/queue")["depth"],
        running=sum(worker["running"] for worker in workers),
        parked=sum(worker["parked"] for worker in workers),
        cells=sum(worker["cells_used"] for worker in workers),
        unready=sum(worker["state"] != "ready" for worker in workers),
        unhealthy="" if health == {"status": "ok"} else str(health),
        strangers=[
            f"{found.state} {found.command}"
            for found in children(server.pid)
            if found.pid not in pids and TRACKER not in found.command
        ],
    )


def settled(server: Server, files_before: int) -> Remains:
    """What is left once it has calmed down: nothing, as soon as there is nothing."""
    end = time.monotonic() + SETTLE_S
    while not (found := remains(server, files_before)).nothing and time.monotonic() < end:
        pass
    return found


def survivors(family: list[Process]) -> list[str]:
    """Which of a server's processes are still there once all have had the time to end.

    Zombies count, for the gateway must reap its workers. Only multiprocessing's resource tracker
    outlives it for a moment, and in a container there may be nobody to reap that one.
    """

    def there() -> list[str]:
        found = [(before, process(before.pid)) for before in family]
        return [
            f"{now.pid} {now.state} {before.command}"
            for before, now in found
            if now is not None and not (now.state == "Z" and TRACKER in before.command)
        ]

    end = time.monotonic() + SETTLE_S
    while there() and time.monotonic() < end:
        time.sleep(0.05)
    return there()
