"""The cost of counting for a token and a request in the dispatcher: in one process, in turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import StringIO
from statistics import median

import uvloop

from bench.gateway.null_worker import PIECE, TOKEN
from bench.gateway.stages import Bench, timed
from gateway.config.config import Config
from gateway.system import log_setup
from workers.protocol import Delta

ROUNDS = 7
LOG = logging.getLogger("forge.requests")


@dataclass(frozen=True, slots=True)
class Added:
    """CPU microseconds that somebody who counts adds to what it costs without."""

    token: float
    request: float


class _Forgetful(StringIO):
    """A log that nobody keeps, and that no system call is made for."""

    def write(self, text: str) -> int:
        return len(text)


def _account(bench: Bench) -> Callable[[], Awaitable[None]]:
    """A token, through the dispatcher into the ticket and out of it. Needs a running request."""
    (sequence,) = bench.dispatcher._running.values()
    delta = Delta(sequence.id, sequence.attempt, [TOKEN], PIECE)
    ticket = bench.dispatcher._tickets[sequence.ticket_id]

    async def work() -> None:
        bench.pool.tell(delta)
        await ticket.take(5.0)

    return work


def _serve(bench: Bench) -> Callable[[], Awaitable[None]]:
    """A request, into the heap, out of it, and its end."""
    job = bench.job()

    async def work() -> None:
        await bench.dispatcher.submit(job).take()

    return work


async def _measure(repeats: int) -> dict[str, Added]:
    handler, propagate = logging.StreamHandler(_Forgetful()), LOG.propagate
    handler.setFormatter(log_setup.Json())
    LOG.addHandler(handler)
    LOG.propagate = False
    ways = {
        "nothing": (False, False),
        "usage": (False, False),
        "metrics": (True, False),
        "metrics, and the log": (True, True),
    }
    benches = {name: Bench(Config(alias="null", metrics=on)) for name, (on, _) in ways.items()}
    for name, bench in benches.items():
        if name != "usage":
            bench.gateway._observer._observers.remove(bench.gateway.accounts.recorder)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for bench in benches.values():
        await bench.gateway.start()
        await bench.running()
    for _ in range(ROUNDS):
        for name, bench in benches.items():
            LOG.setLevel(logging.INFO if ways[name][1] else logging.WARNING)
            token = await timed(_account(bench), 3 * repeats)
            found[name].append((token, await timed(_serve(bench), repeats)))
    for bench in benches.values():
        bench.dispatcher.abandon("done")
        await bench.gateway.stop()
    LOG.removeHandler(handler)
    LOG.propagate = propagate
    LOG.setLevel(logging.NOTSET)
    base = found.pop("nothing")
    return {name: _added(each, base) for name, each in found.items()}


def _added(found: list[tuple[float, float]], base: list[tuple[float, float]]) -> Added:
    """The medians of the differences, round by round."""
    pairs = list(zip(found, base, strict=True))
    return Added(*(median(a[which] - b[which] for a, b in pairs) for which in (0, 1)))


def measure(repeats: int) -> dict[str, Added]:
    """By who counts."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(repeats))
