"""A runner on a real store in a folder, with endpoints that a test plays."""

import asyncio
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import func, select

from gateway.batches.record import BatchRecord, NewBatch
from gateway.batches.runner import BatchRunner
from gateway.core.api_key import ANYONE, ApiKey
from gateway.stored.store import Store
from gateway.stored.tables import lines as rows
from tests.support.server import DEADLINE_S

T = TypeVar("T")
CHAT = "/v1/chat/completions"
DAY = 86400
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
}


@dataclass
class Answer:
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


REFUSED = Answer(429, {"error": {"code": "rate_limit_exceeded"}}, {"retry-after": "0.5"})
GONE = Answer(404, {"error": {"code": "model_not_found", "message": "no"}}, {"retry-after": "0.05"})
DEAD = Answer(500, {"error": {"code": "worker_failed", "message": "4 workers died"}})
WRONG = Answer(400, {"error": {"code": "invalid_request", "message": "no"}}, {"x-request-id": "r"})


@dataclass(frozen=True)
class Call:
    """The request of a line."""

    key: ApiKey
    url: str
    body: Mapping[str, Any]
    priority: float
    spare: bool
    name: str
    origin: str = ""


class PlayedEndpoints:
    """Answers as a test says: at once, or once ``gate`` is open."""

    def __init__(self) -> None:
        self.calls = list[Call]()
        self.raised = dict[str, float]()
        self.open = 0
        self.most = 0
        """The most that were asked at once."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Callable[[Call, int], Answer] = lambda call, tries: said(call)
        """The answer to a call; ``tries``: how often its line was asked."""
        self._tries = Counter[str]()

    async def call(
        self,
        key: ApiKey,
        url: str,
        body: Mapping[str, Any],
        priority: float,
        spare: bool,
        request_id: str = "",
        origin: str = "",
    ) -> Answer:
        call = Call(key, url, body, priority, spare, request_id, origin)
        self.calls.append(call)
        self._tries[request_id] += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.open -= 1
        return self.answer(call, self._tries[request_id])

    def raise_priority(self, request_id: str, priority: float) -> None:
        self.raised[request_id] = priority


def said(call: Call) -> Answer:
    """Success: the prompt, backwards."""
    return Answer(200, {"text": str(call.body["prompt"])[::-1], "usage": USAGE})


@dataclass
class PlayedModels:
    """One model."""

    n: int = 2
    name: str = "tiny"

    def find(self, key: ApiKey, name: str | None) -> str | None:
        there = name in (None, self.name) and key.may_use(self.name)
        return self.name if there else None

    def slots(self, model: str) -> int:
        return self.n


class Desk:
    """Store, endpoints, models, keys and clock, of which tests change what they like."""

    def __init__(self, folder: Path | None, url: str | None = None) -> None:
        """The store's place."""
        self.now = 1_000_000.0
        self.longest = 10_000
        self.folder, self.url = folder, url
        self.endpoints = PlayedEndpoints()
        self.models = PlayedModels()
        self.keys: dict[str, ApiKey] = {"": ANYONE}
        self.store: Store
        self.runner: BatchRunner

    async def open(self) -> None:
        self.store = Store(self.folder, self.url, 1 << 30, lambda: self.now)
        await self.store.open()
        self.runner = BatchRunner(
            self.store, self.endpoints, self.keys.get, self.models, lambda: self.longest
        )

    async def start(self) -> None:
        """Open all, and run."""
        await self.open()
        self.runner.start()

    async def stop(self) -> None:
        await self.runner.stop()
        self.runner.feed.flights.stop()  # of one that is dead
        await self.runner.feed.flights.settled()
        await self.store.close()

    async def die(self) -> None:
        """End as at a kill -9: lines in flight go on for nothing, and nothing is noted."""
        task = self.runner._task
        assert task is not None
        task.cancel()
        await asyncio.wait([task])
        self.runner._task = None

    async def again(self) -> None:
        """End the server in order, and start it."""
        await self.stop()
        await self.start()

    async def upload(self, content: bytes, owner: str = "") -> str:
        incoming = await self.store.files.receive(owner, 1 << 40)
        await incoming.write(content)
        kept = await self.store.files.keep(owner, await incoming.commit(), "batch", "in.jsonl")
        return kept.id

    async def batch(self, content: bytes | int, owner: str = "", **fields: Any) -> str:
        """A new batch of these lines, or of so many."""
        data = lines(content) if isinstance(content, int) else content
        made = await self.runner.rows.create(
            NewBatch(
                **{
                    "id": f"batch_{secrets.token_hex(8)}",
                    "owner": owner,
                    "endpoint": CHAT,
                    "completion_window": "24h",
                    "priority": 0.0,
                    "input_file": await self.upload(data, owner),
                    "output_age": None,
                    "metadata": None,
                    "created_at": int(self.now),
                    "expires_at": int(self.now) + DAY,
                    "room": 1 << 40,
                    **fields,
                }
            )
        )
        self.runner.poke()
        return made.id

    async def find(self, id_: str, owner: str = "") -> BatchRecord:
        return await self.runner.rows.find(owner, id_)

    async def ended(self, id_: str, owner: str = "") -> BatchRecord:
        """The batch, once it has ended."""

        async def found() -> BatchRecord | None:
            self.runner.poke()
            batch = await self.find(id_, owner)
            return batch if batch.ended else None

        return await until(found, f"{id_} ends")

    async def runs(self, id_: str) -> None:
        """Wait until the runner knows that a batch is validated."""

        async def found() -> bool:
            self.runner.poke()
            batch = self.runner.feed.batches.get(id_)
            return batch is not None and batch.status == "in_progress"

        await until(found, f"{id_} may run")

    async def read(self, file: str | None, owner: str = "") -> list[dict[str, Any]]:
        """The lines of an output file."""
        assert file is not None
        found = await self.store.files.get(owner, file)
        data = b"".join([piece async for piece in self.store.blobs.read(found.blob)])
        assert data.endswith(b"\n")
        return [json.loads(line) for line in data.splitlines()]


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Desk]:
    desk = Desk(folder)
    await desk.start()
    try:
        yield desk
    finally:
        await desk.stop()


def line(custom_id: str, prompt: str = "", **more: Any) -> bytes:
    body = {"prompt": prompt or custom_id, **more}
    fields = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
    return json.dumps(fields).encode() + b"\n"


def lines(count: int, prefix: str = "") -> bytes:
    return b"".join(line(f"{prefix}{number}") for number in range(count))


def ids(results: list[dict[str, Any]]) -> list[str]:
    return [each["custom_id"] for each in results]


async def rows_left(desk: Desk) -> int:
    """Count the lines in the store."""
    async with desk.store.database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(rows))).scalar_one())


async def until(check: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Poll until ``check`` gives something, and return that."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while asyncio.get_running_loop().time() < end:
        found = await check()
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"did not happen: {what}")


async def true(check: Callable[[], bool], what: str) -> None:
    """Wait until something is true."""

    async def found() -> bool:
        return check()

    await until(found, what)
