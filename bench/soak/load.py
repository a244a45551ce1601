"""Short requests of all kinds, none like another, and the size of the processes that serve them."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.chaos.asking import PROMPTS, Dialect, Request
from bench.chaos.clients import Clients
from bench.processes import Memory, children, memory
from bench.server import Server

CONCURRENCY = 16
DIALECTS: tuple[Dialect, ...] = ("infer", "chat", "completions")
MAX_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Sample:
    """The processes after so many requests."""

    served: int
    memory: dict[str, Memory]
    """By "gateway", "worker 0", "renderer 0" and so on."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """The outcome of the load."""

    samples: list[Sample]
    left: int
    """Requests whose clients hung up."""
    errors: list[str]


def short_requests(count: int, seed: int) -> Iterator[tuple[Request, int | None]]:
    """``count`` requests, and after how many tokens the client leaves, if it does.

    No prompt occurs twice: what is remembered for each would show.
    """
    rng = random.Random(f"soak {seed}")
    for number in range(count):
        dialect = rng.choice(DIALECTS)
        stream = dialect != "infer" and rng.random() < 0.5
        n = 2 if dialect != "infer" and rng.random() < 0.15 else 1
        params = {"max_tokens": rng.randint(1, MAX_TOKENS), "temperature": 0, "ignore_eos": True}
        prompt = f"{rng.choice(PROMPTS)} {number}"
        leave_after = rng.randint(1, MAX_TOKENS) if rng.random() < 0.15 else None
        yield Request(number, dialect, stream, prompt, tuple(params.items()), n), leave_after


async def soak(
    server: Server, count: int, every: int, seed: int, tick: Callable[[], None]
) -> Soaked:
    """Send ``count`` requests, CONCURRENCY at a time; look at the processes ``every`` so many."""
    clients = Clients(server.url)
    requests = short_requests(count, seed)
    samples: list[Sample] = []
    left, errors = 0, []
    served = itertools.count(1)

    async def client() -> None:
        nonlocal left
        for request, leave_after in requests:
            outcome = await clients.ask(request, leave_after)
            left += outcome.left
            if outcome.error:
                errors.append(f"{request}: {outcome.error}")
            tick()
            if (so_far := next(served)) % every == 0:
                samples.append(await asyncio.to_thread(sample, server, so_far))

    await asyncio.gather(*(client() for _ in range(CONCURRENCY)))
    await clients.close()
    samples.sort(key=lambda sample: sample.served)  # looking takes longer than some requests
    return Soaked(samples, left, errors)


def sample(server: Server, served: int) -> Sample:
    """The sizes now."""
    pids = {"gateway": server.pid}
    for worker in server.workers():
        pids[f"worker {worker['id']}"] = worker["pid"]
        for child in children(worker["pid"]):
            pids[f"renderer {worker['id']}"] = child.pid
    return Sample(served, {name: memory(pid) for name, pid in pids.items()})


def slope(samples: list[Sample], name: str, kind: str) -> float:
    """KiB for 1,000 requests: the least-squares line through the second half."""
    half = samples[len(samples) // 2 :]
    x = [sample.served / 1000 for sample in half]
    y = [float(getattr(sample.memory[name], kind)) for sample in half]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - mean_x) ** 2 for value in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
