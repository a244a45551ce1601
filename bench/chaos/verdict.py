"""Judgement on what clients noticed, and what a server has left behind. Nothing is forgiven."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bench.processes import children, open_files, process
from bench.server import Server

from .clients import Answer, Outcome

PAUSE_S = 0.1
"""A shorter gap between two tokens is no pause: a busy machine makes such."""
TRACKER = "resource_tracker"
"""In the command of the process that multiprocessing starts beside the workers."""
RENDERER = "workers.template.sandbox"
"""In the command of the process that a worker starts for its templates."""
SETTLE_S = 60
"""Ends a wait for a server to calm down that will not."""


def mismatch(outcome: Outcome, twin: Answer) -> str:
    """Return the difference from its undisturbed twin, "" for none. For those without an error.

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
    """The holdings of a server of which nothing is asked: all zero, or it leaks."""

    files: int = 0
    """File descriptors of the gateway more than there were at the beginning."""
    busy: int = 0
    queued: int = 0
    running: int = 0
    parked: int = 0
    cells: int = 0
    """KV cells in use, though nothing runs."""
    unready: int = 0
    """Workers that do not serve."""
    unhealthy: str = ""
    strangers: list[str] = field(default_factory=list)
    """Processes that are neither the gateway, a worker, the renderer of a worker nor
    multiprocessing's resource tracker; and zombies."""

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
    """Return what the server holds now; ``files_before`` is what :func:`files` said first."""
    workers: list[dict[str, Any]] = server.workers()
    health = server.get("/health")
    return Remains(
        files=files(server) - files_before,
        busy=sum(worker["busy"] for worker in workers),
        queued=server.get("/queue")["depth"],
        running=sum(worker["running"] for worker in workers),
        parked=sum(worker["parked"] for worker in workers),
        cells=sum(worker["cells_used"] for worker in workers),
        unready=sum(worker["state"] != "ready" for worker in workers),
        unhealthy="" if health == {"status": "ok"} else str(health),
        strangers=strangers(server, {worker["pid"] for worker in workers}),
    )


def strangers(server: Server, workers: set[int]) -> list[str]:
    """Return the processes of the server's family that should be gone; see :class:`Remains`."""
    helpers = {(pid, RENDERER) for pid in workers} | {(server.pid, TRACKER)}
    found = []
    for member in server.family():
        if member.pid == server.pid or member.pid in workers:
            continue
        mine = [helper for helper in helpers if helper[0] == member.parent]
        known = next((helper for helper in mine if helper[1] in member.command), None)
        if known is None:
            found.append(member)
        else:
            helpers.remove(known)  # one of a kind
    found += [child for child in children(server.pid) if child.state == "Z"]
    return [f"{member.state} {member.command}" for member in found]


def settled(server: Server, files_before: int) -> Remains:
    """Return what is left once it has calmed down: nothing, as soon as there is nothing."""
    end = time.monotonic() + SETTLE_S
    while not (found := remains(server, files_before)).nothing and time.monotonic() < end:
        pass
    return found


def survivors(server: Server, workers: set[int]) -> list[str]:
    """Return its processes that are still there once all have had the time to end.

    Zombies of ``workers`` count too: the gateway must reap them. The others lost their parent, and
    in a container there may be nobody to reap those.
    """

    def there() -> list[str]:
        found = [*server.family(), *(worker for pid in workers if (worker := process(pid)))]
        return [f"{member.pid} {member.state} {member.command}" for member in found]

    end = time.monotonic() + SETTLE_S
    while there() and time.monotonic() < end:
        time.sleep(0.05)
    return there()
