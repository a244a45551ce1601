"""An open-loop load: arrivals that do not wait for answers, and what became of each.

A closed loop (so many users, each waiting for an answer before asking again) slows down with the
server and so never overloads it; arrivals here come at the times of a seeded Poisson process.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

SHARES = {"urgent": 0.1, "normal": 0.6, "batch": 0.3}
CLASSES = tuple(SHARES)
TIMEOUT_S = 120
FIRST_TEXT = re.compile(rb'"content":"[^"]')
LAST_EVENT = 2048
"""Bytes that the last event of a stream fits into."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request to come."""

    at_s: float
    class_: str


@dataclass(slots=True)
class Outcome:
    """The outcome of an arrival. Times are seconds from the start of the run."""

    class_: str
    arrived_s: float
    status: int = 0
    code: str = ""
    """The error's code, if the answer was one."""
    ttft_s: float | None = None
    """From arrival to the first text."""
    ended_s: float = 0.0

    @property
    def served(self) -> bool:
        return self.status == 200 and not self.code

    @property
    def told(self) -> bool:
        """Return whether the client got an answer, be it a refusal with its reason."""
        return self.served or bool(self.code)


def poisson(rate: float, seconds: float, seed: str) -> list[Arrival]:
    """Arrivals of all classes, ``rate`` a second, for so many seconds."""
    rng, at, found = random.Random(seed), 0.0, []
    while (at := at + rng.expovariate(rate)) < seconds:
        found.append(Arrival(at, rng.choices(CLASSES, list(SHARES.values()))[0]))
    return found


class Client:
    """Sends chat streams of a fixed number of tokens to one server."""

    def __init__(self, url: str, tokens: int) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        self._http = httpx.AsyncClient(base_url=url, limits=limits, timeout=TIMEOUT_S)
        self._tokens = tokens

    async def close(self) -> None:
        await self._http.aclose()

    async def capacity(self, concurrency: int, seconds: float) -> float:
        """Requests per second when ``concurrency`` clients ask without a pause."""
        begin = time.monotonic()
        ended: list[float] = []

        async def user() -> None:
            while time.monotonic() < begin + seconds:
                await self.ask("normal", "normal", time.monotonic())
                ended.append(time.monotonic() - begin)

        await asyncio.gather(*(user() for _ in range(concurrency)))
        in_time = sum(each < seconds for each in ended)
        # On a machine too slow for even one, what came later must do.
        return in_time / seconds if in_time else len(ended) / max(ended)

    async def run(
        self, arrivals: list[Arrival], *, fifo: bool, tick: Callable[[], None]
    ) -> list[Outcome]:
        """Send every arrival at its time. With ``fifo`` all ask for the same priority."""
        start, tasks = time.monotonic(), []
        for arrival in arrivals:
            await asyncio.sleep(max(0.0, start + arrival.at_s - time.monotonic()))
            priority = "normal" if fifo else arrival.class_
            tasks.append(asyncio.create_task(self.ask(arrival.class_, priority, start)))
            tick()
        return await asyncio.gather(*tasks)

    async def ask(self, class_: str, priority: str, start: float) -> Outcome:
        """One request, from its first byte to its last."""
        arrived = time.monotonic()
        outcome = Outcome(class_, arrived - start)
        body = {
            "messages": [{"role": "user", "content": "Tell me a long story"}],
            "stream": True, "ignore_eos": True, "temperature": 0,
            "max_tokens": self._tokens, "priority": priority,
        }  # fmt: skip
        async with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
            outcome.status = response.status_code
            if response.status_code != 200:
                outcome.code = _code(orjson.loads(await response.aread()))
            else:
                await self._read(response, outcome, arrived)
        outcome.ended_s = time.monotonic() - start
        return outcome

    async def _read(self, response: httpx.Response, outcome: Outcome, arrived: float) -> None:
        """Looks for the first text and for an error; all else is dropped unparsed.

        The client shares the machine with the server: what it computes, the server can't.
        """
        end = b""
        async for data in response.aiter_raw():
            if outcome.ttft_s is None and FIRST_TEXT.search(data):
                outcome.ttft_s = time.monotonic() - arrived
            end = (end + data)[-LAST_EVENT:]
        _, failed, rest = end.partition(b"event: error\ndata: ")
        if failed:
            outcome.code = _code(orjson.loads(rest.split(b"\n\n")[0]))


def _code(body: Any) -> str:
    return str(body["error"]["code"])
