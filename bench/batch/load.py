"""Batches, the same requests as a closed loop, and chats that come beside them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from bench.overload.load import FIRST_TEXT

PATH = "/v1/chat/completions"
TIMEOUT_S = 600
POLL_S = 0.25
WORDS = ["sea", "fox", "hen", "rain", "bread", "stone", "paper", "light", "green", "seven", "river"]
ENDS = {"completed", "failed", "expired", "cancelled"}

Body = dict[str, Any]


def bodies(count: int, tokens: int, seed: str) -> Iterable[Body]:
    """Chats whose prompts share nothing, each with an answer of so many tokens."""
    rng = random.Random(seed)
    for number in range(count):
        words = " ".join(rng.choices(WORDS, k=24))
        yield {
            "messages": [{"role": "user", "content": f"{rng.random()} {number}: {words}"}],
            "max_tokens": tokens, "ignore_eos": True, "temperature": 0,
        }  # fmt: skip


def lines(requests: Iterable[Body]) -> Iterable[bytes]:
    """A batch's file of these requests."""
    for number, body in enumerate(requests):
        line = {"custom_id": f"{number}", "method": "POST", "url": PATH, "body": body}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class Client:
    """A client of one server."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.AsyncClient(base_url=url, limits=limits, timeout=TIMEOUT_S)

    async def closed_loop(
        self, requests: Sequence[Body], users: int, tick: Callable[[], None]
    ) -> float:
        """The seconds until all are answered, if each user asks again when it has its answer."""
        left = iter(requests)

        async def user() -> None:
            for body in left:
                answer = await self.http.post(PATH, json=body | {"priority": "batch"})
                answer.raise_for_status()
                tick()

        begin = time.monotonic()
        await asyncio.gather(*(user() for _ in range(users)))
        return time.monotonic() - begin

    async def upload(self, requests: Iterable[Body]) -> str:
        """The id of a batch's file of these requests."""
        content = b"".join(lines(requests))
        answer = await self.http.post(
            "/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", content)}
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def begin(self, file: str) -> str:
        """The id of a new batch of the lines in a file."""
        body = {"input_file_id": file, "endpoint": PATH, "completion_window": "24h"}
        answer = await self.http.post("/v1/batches", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    async def look(self, batch: str) -> dict[str, Any]:
        """The batch as it is now."""
        answer = await self.http.get(f"/v1/batches/{batch}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    async def done(self, batch: str, tell: Callable[[int], None]) -> dict[str, Any]:
        """The batch when it has ended; ``tell`` hears how many lines are done."""
        while True:
            found = await self.look(batch)
            tell(found["request_counts"]["completed"])
            if found["status"] in ENDS:
                return found
            await asyncio.sleep(POLL_S)

    async def under_way(self, batch: str, completed: int) -> None:
        """Return when so many of a batch's lines are done."""
        while True:
            found = await self.look(batch)
            if found["request_counts"]["completed"] >= completed or found["status"] in ENDS:
                return
            await asyncio.sleep(POLL_S)

    async def cancel(self, batch: str) -> dict[str, Any]:
        """The batch, once it has been cancelled."""
        (await self.http.post(f"/v1/batches/{batch}/cancel")).raise_for_status()
        return await self.done(batch, lambda completed: None)

    async def ttft(self, body: Body) -> float:
        """Seconds to the first text of a chat's stream, which is read to its end."""
        begin, found = time.monotonic(), None
        async with self.http.stream("POST", PATH, json=body | {"stream": True}) as response:
            response.raise_for_status()
            async for data in response.aiter_raw():
                if found is None and FIRST_TEXT.search(data):
                    found = time.monotonic() - begin
        assert found is not None, "an answer without a text"
        return found

    async def chats(
        self, arrivals: Sequence[float], requests: Iterable[Body], tick: Callable[[], None]
    ) -> list[float]:
        """Times to the first token of chats that come at their times, however slow others are."""
        start, tasks = time.monotonic(), []
        for at_s, body in zip(arrivals, requests, strict=False):
            await asyncio.sleep(max(0.0, start + at_s - time.monotonic()))
            tasks.append(asyncio.create_task(self.ttft(body)))
            tick()
        return await asyncio.gather(*tasks)

    async def close(self) -> None:
        await self.http.aclose()


def poisson(rate: float, seconds: float, seed: str) -> list[float]:
    """Times of arrivals, ``rate`` a second, for so many seconds; one at least."""
    rng, at, found = random.Random(seed), 0.0, list[float]()
    while (at := at + rng.expovariate(rate)) < seconds:
        found.append(at)
    return found or [seconds / 2]


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a server while it works."""

    completed: int
    """Lines that were done."""
    anonymous_kib: int
    """Memory that the gateway's process allocated."""
    step_ms: float
    """The longest of its workers' last steps."""


def growth(looks: Sequence[Look]) -> float:
    """KiB for each 1,000 lines, by least squares over the second half; 0 if there is no such."""
    half = looks[len(looks) // 2 :]
    xs, ys = [look.completed for look in half], [look.anonymous_kib for look in half]
    if len({*xs}) < 2:
        return 0.0
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return 1000 * over / sum((x - mean_x) ** 2 for x in xs)
