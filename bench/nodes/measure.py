"""Streams against two servers in turns: a worker on a Ray node of this machine, and a local one."""

import asyncio
import time
from dataclasses import dataclass, field

import httpx

from bench.processes import cpu_seconds, process
from bench.server import Server

REST_S = 5.0
"""Seconds without work in which the CPU of a link at rest is read."""
PROMPT = "Write a long story about a lighthouse, a storm and the people who live there. "


@dataclass
class Round:
    """The times that the streams of a round saw."""

    ttft_ms: list[float] = field(default_factory=list)
    itl_ms: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0
    link_cpu_s: float = 0.0
    """CPU time of the driver and the actors."""
    rest_s: float = 0.0
    """The part of it that they take without frames, too."""
    frames: int = 0
    """Steps of the workers, each of which is a frame at most."""

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


async def play(server: Server, streams: int, tokens: int, salt: str) -> Round:
    """Play one round. Each stream begins with words of its own, so that no prefix is cached."""
    found, link = Round(), link_of(server)
    frames, cpu = _steps(server), sum(map(cpu_seconds, link))
    began = time.perf_counter()
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as http:
        await asyncio.gather(*(_stream(http, found, f"{salt} {n}", tokens) for n in range(streams)))
    found.seconds = time.perf_counter() - began
    found.link_cpu_s = sum(map(cpu_seconds, link)) - cpu
    found.frames = _steps(server) - frames
    return found


async def _stream(http: httpx.AsyncClient, found: Round, salt: str, tokens: int) -> None:
    body = {
        "messages": [{"role": "user", "content": f"{salt}. {PROMPT}"}],
        "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
    }  # fmt: skip
    last = time.perf_counter()
    first = True
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if '"content":"' not in line.replace(": ", ":"):
                continue
            now = time.perf_counter()
            (found.ttft_ms if first else found.itl_ms).append(1000 * (now - last))
            first, last = False, now
    found.tokens += tokens


async def at_rest(server: Server) -> float:
    """Return the seconds of CPU that the driver and the actors take in a second without work."""
    link = link_of(server)
    cpu = sum(map(cpu_seconds, link))
    await asyncio.sleep(REST_S)
    return (sum(map(cpu_seconds, link)) - cpu) / REST_S


def _steps(server: Server) -> int:
    return sum(worker["steps"] for worker in server.workers())


def link_of(server: Server) -> list[int]:
    """Return the driver of a server and the actors of its workers; none of a local one."""
    family = server.family()
    drivers = [each.pid for each in family if "gateway.pool.cluster.driver" in each.command]
    if not drivers:
        return []
    workers = [process(worker["pid"]) for worker in server.workers()]
    return [*drivers, *(each.parent for each in workers if each is not None)]
