"""`python -m bench.batch [--quick] [--model FILE]`: what a batch costs, and what it costs others.

1. *Speed*. The lines of a batch through /v1/batches, and the same requests as a closed loop of as
   many users as the window has lines. Both in turns, each on a server of its own with empty caches.
   A batch's time is from its creation to its end: validation, results and files included.
2. *Others*. Chats at 0.3 of the capacity, at the times of a seeded Poisson process: alone, and
   beside a batch. The time to the first token is allowed 1.5 times that of alone, and one step.
3. *Memory*. What the gateway allocates while the lines of that batch are answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from bench.overload.measure import percentile
from bench.processes import memory
from bench.server import Server, running
from gateway.config.config import EMBEDDED_MODEL

from . import report
from .load import Client, Look, bodies, poisson

RESULTS = Path(__file__).parent.parent / "results"
SLOTS = 8
USERS = 2 * SLOTS
"""Number of users, and of a batch's lines in flight."""
LOAD = 0.3
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run."""

    lines: int
    """Of each batch whose speed is measured."""
    tokens: int
    """Of each answer."""
    rounds: int
    behind: int
    """Lines of the batch beside which chats are measured."""
    chats_s: float
    settled: int
    """Lines that are done before chats come."""


FULL = Plan(lines=120, tokens=24, rounds=2, behind=10_000, chats_s=80, settled=16)
QUICK = Plan(lines=300, tokens=16, rounds=1, behind=2_000, chats_s=8, settled=16)


@dataclass(slots=True)
class Found:
    """The figures of a run."""

    model: str
    plan: Plan
    capacity: float = 0.0
    """Requests per second of the closed loop."""
    loop_s: list[float] = field(default_factory=list)
    batch_s: list[float] = field(default_factory=list)
    alone_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    preemptions: int = 0
    idle_kib: int = 0
    """Memory of the gateway before the batch beside which chats were measured."""

    @property
    def speed(self) -> float:
        """Lines per second of batches over those of the closed loop."""
        return sum(self.loop_s) / sum(self.batch_s)

    @property
    def step_s(self) -> float:
        """A step beside the batch, the median."""
        return percentile([look.step_ms for look in self.looks], 0.5) / 1000

    def allowed_s(self) -> float:
        """Return the most that p99 of the time to the first token may be beside a batch."""
        return 1.5 * percentile(self.alone_s, 0.99) + self.step_s


@contextlib.contextmanager
def served(model: Path) -> Iterator[Server]:
    """A server that stores nothing of earlier ones."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--workers", "1", "--slots", f"{SLOTS}", "--data-dir", folder)
        with running("--model", f"{model}", *options) as server:
            server.wait_ready()
            yield server


@contextlib.asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[Client]:
    client = Client(server.url)
    try:
        await client.closed_loop(list(bodies(SLOTS, 8, "warm")), SLOTS, lambda: None)
        yield client
    finally:
        await client.close()


async def speed(model: Path, found: Found, bar: Progress) -> None:
    """Batches and closed loops in turns, of the same requests in each round."""
    plan = found.plan
    task = bar.add_task("lines", total=2 * plan.rounds * plan.lines)
    for number in range(plan.rounds):
        requests = list(bodies(plan.lines, plan.tokens, f"round {number}"))
        for way in ("loop", "batch") if number % 2 == 0 else ("batch", "loop"):
            with served(model) as server:
                async with client_of(server) as client:
                    if way == "loop":
                        took = await client.closed_loop(requests, USERS, lambda: bar.advance(task))
                        found.loop_s.append(took)
                    else:
                        found.batch_s.append(await batch(client, requests, task, bar))
    found.capacity = plan.rounds * plan.lines / sum(found.loop_s)


async def batch(
    client: Client, requests: list[dict[str, object]], task: TaskID, bar: Progress
) -> float:
    """The seconds from a batch's creation to its end."""
    file = await client.upload(requests)
    loop, before = asyncio.get_running_loop(), bar.tasks[task].completed
    begin = loop.time()
    ended = await client.done(
        await client.begin(file), lambda lines: bar.update(task, completed=before + lines)
    )
    took = loop.time() - begin
    assert ended["status"] == "completed", ended
    assert ended["request_counts"] == {
        "total": len(requests),
        "completed": len(requests),
        "failed": 0,
    }
    return took


async def others(model: Path, found: Found, bar: Progress) -> None:
    """Chats alone, and beside a batch."""
    plan = found.plan
    arrivals = poisson(LOAD * found.capacity, plan.chats_s, "chats")
    task = bar.add_task("chats", total=2 * len(arrivals))

    async def chats(client: Client, seed: str) -> list[float]:
        requests = bodies(len(arrivals), plan.tokens, seed)
        return await client.chats(arrivals, requests, lambda: bar.advance(task))

    with served(model) as server:
        async with client_of(server) as client:
            found.alone_s = await chats(client, "chats")
    with served(model) as server:
        async with client_of(server) as client:
            file = await client.upload(bodies(plan.behind, plan.tokens, "behind"))
            found.idle_kib = memory(server.pid).anonymous
            running_batch = await client.begin(file)
            await client.under_way(running_batch, plan.settled)
            watching = asyncio.create_task(watch(server, client, running_batch, found.looks))
            found.beside_s = await chats(client, "chats")
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            metrics = await client.http.get("/metrics", headers={"Accept": "text/plain"})
            found.preemptions = counted(metrics.text, "forge_preemptions_total")
            await client.cancel(running_batch)


async def watch(server: Server, client: Client, batch: str, looks: list[Look]) -> None:
    """Look at the gateway's memory and the workers' steps, for ever."""
    while True:
        at = await client.look(batch)
        workers = (await client.http.get("/workers")).json()
        step_ms = max((worker["step_ms"] for worker in workers), default=0.0)
        used = memory(server.pid).anonymous
        looks.append(Look(at["request_counts"]["completed"], used, step_ms))
        await asyncio.sleep(LOOK_S)


def counted(text: str, name: str) -> int:
    """The value of a counter without labels in Prometheus' text."""
    (value,) = (line.split()[1] for line in text.splitlines() if line.split()[0] == name)
    return int(float(value))


async def measure(model: Path, plan: Plan, out: Path, console: Console) -> Found:
    """Everything, and the report."""
    found = Found(model.stem, plan)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        await speed(model, found, bar)
        await others(model, found, bar)
    console.print(report.table(found))
    report.write(found, out)
    console.print(f"written to {out}")
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.batch", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes instead of seven")
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL, help="a GGUF file")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the report")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(measure(args.model, QUICK if args.quick else FULL, args.out, Console()))


if __name__ == "__main__":
    main()
