"""Streams with and without a constraint, against a live server of one worker."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from bench.processes import cpu_seconds
from bench.server import Server

BATCH = 8
RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 30},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        "active": {"type": "boolean"},
    },
    "required": ["name", "age", "tags", "active"],
    "additionalProperties": False,
}
ENDLESS = {"type": "array", "items": RECORD, "minItems": 1000}
"""JSON that does not end before the token limit, so that both kinds give as many tokens."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One round of BATCH streams."""

    rate: float
    """Tokens per second, all streams together."""
    cpu_us: float
    """CPU time of the worker for each token, in microseconds."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """The pauses between the tokens of one stream, in milliseconds, ascending."""

    sorted_ms: list[float]

    @property
    def longest(self) -> float:
        return self.sorted_ms[-1]

    def quantile(self, q: float) -> float:
        return self.sorted_ms[int(q * (len(self.sorted_ms) - 1))]


def body(number: int, tokens: int, **params: Any) -> dict[str, Any]:
    """A chat with a prompt and a seed of its own, and exactly so many tokens for an answer."""
    messages = [{"role": "user", "content": f"Write about number {number}."}]
    given = {"messages": messages, "seed": number, "max_tokens": tokens, "ignore_eos": True}
    return {**given, **params}


async def speed(server: Server, pid: int, tokens: int, params: dict[str, Any]) -> Speed:
    """BATCH answers at once; ``pid`` is the worker's. Raises RuntimeError if one is too short."""
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as client:
        before, began = cpu_seconds(pid), time.perf_counter()
        answers = await asyncio.gather(
            *(
                client.post("/v1/chat/completions", json=body(number, tokens, **params))
                for number in range(BATCH)
            )
        )
        seconds, cpu = time.perf_counter() - began, cpu_seconds(pid) - before
    given = sum(answer.json()["usage"]["completion_tokens"] for answer in answers)
    if given != BATCH * tokens:
        raise RuntimeError(f"{given} tokens instead of {BATCH * tokens}")
    return Speed(given / seconds, cpu / given * 1e6)


async def gaps(server: Server, tokens: int, beside: list[dict[str, Any]], pause_s: float) -> Gaps:
    """One stream, while requests with the parameters ``beside`` come, one after the other."""
    async with httpx.AsyncClient(base_url=server.url, timeout=600) as client:
        stop = asyncio.Event()

        async def disturb() -> None:
            for number in itertools.count(1000):
                if stop.is_set() or not beside:
                    return
                params = beside[number % len(beside)]
                await client.post("/v1/chat/completions", json=body(number, 1, **params))
                await asyncio.sleep(pause_s)

        disturbing = asyncio.create_task(disturb())
        found, last = [], None
        request = body(1, tokens, stream=True, temperature=0)
        async with client.stream("POST", "/v1/chat/completions", json=request) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {") and orjson.loads(line[6:])["choices"]:
                    now = time.perf_counter()
                    if last is not None:
                        found.append((now - last) * 1000)
                    last = now
        stop.set()
        await disturbing
    return Gaps(sorted(found))


def new_schema(number: int, width: int = 12) -> dict[str, Any]:
    """A schema that nobody has compiled yet."""
    names = [f"field_{number}_{at}" for at in range(width)]
    properties = {
        name: RECORD if at % 3 == 0 else {"type": "string"} for at, name in enumerate(names)
    }
    return {"type": "object", "properties": properties, "required": names[:4]}
