"""A day in fast motion: 24 hours of requests, and all that may happen to keys, disk and server.

The clock is the test's. Each hour some keys ask in all dialects; in between keys are rotated,
limited and revoked, by the store and by the operator's file, the model and that file are reloaded
while streams run, a budget runs out while streams run, the disk fills and has room again, and the
server is killed and started anew. Some requests are captured. A second book is kept here, of what
each answer told. Both must agree all the day, but for what the docs name: what a server that is
killed had not written, and captures while the disk was full, which are counted.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from gateway.accounting import accounts
from gateway.app import Gateway
from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from gateway.core.errors import StorageFull
from gateway.core.usage_counts import NOTHING
from gateway.pool import Listener
from gateway.served.setup import Setup
from tests.support.answering_pool import AnsweringPool
from tests.support.dialects import CHAT, DIALECTS, Dialect
from tests.support.memory_pool import MemoryPool
from tests.support.server import ALIAS, MODEL
from tests.support.stored_files import SetClock
from workers.protocol import Generate

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

MIDNIGHT = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
"""The last day of a month."""
HOUR = 3600
ADMIN = "sk-root"
BUDGET = 2500
Book = Counter[tuple[str, int]]
"""Tokens and requests by key and hour; the requests under the key's name with a dot."""


def operators(app: str = "sk-app") -> list[ApiKey]:
    """Return the keys of the file; ``app``: the secret of one of them."""
    return [
        ApiKey("root", digest(ADMIN), admin=True),
        ApiKey("app", digest(app), capture="header"),
    ]


class HeldPool(AnsweringPool):
    """Answers at once, or holds its streams for the test."""

    def __init__(self) -> None:
        super().__init__(4)
        self.holding, self.stopped = False, False

    async def start(self, listener: Listener) -> None:
        await super().start(listener)
        listener.on_credit()

    def _answer(self, request: Generate) -> None:
        if not self.holding:
            super()._answer(request)

    async def stop(self) -> None:
        self.stopped = True


class Day:
    """A server on one folder, its clients, and the book."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock(MIDNIGHT)
        self.random = Random(7)
        self.book = Book()
        self.unwritten = Book()
        """The part of the book that no flush has followed."""
        self.secrets = {"app": "sk-app"}
        self.pages = 0
        """Bound of the database; 0: none."""
        self.captures: dict[str, tuple[dict[str, Any], str]] = {}
        """The request and the answer of each, by its id."""
        self.here = set[str]()
        """Captures that this server has begun."""
        self.unsure = set[str]()
        """Captures that may not be written yet."""
        self.losable = set[str]()
        """Captures that may be lost: the docs say when."""
        self.models = (folder.parent / "one.gguf", folder.parent / "two.gguf")
        for model in self.models:
            os.link(MODEL, model)
        config = Config(alias=ALIAS, data_dir=folder, database=None, model=self.models[0])
        self.setup = Setup(config, (), tuple(operators()))
        """The sources of the server, as they are now."""
        self.pools: list[HeldPool] = []
        self.gateway: Gateway
        self.client: httpx.AsyncClient

    # ------------------------------------------------------------------ the server

    async def start(self, pool: MemoryPool | None = None) -> None:
        self.gateway = Gateway(
            self.setup.config,
            Keyring(self.setup.keys),
            pool or self._pool(),
            make=lambda config, first: self._pool(),
            clock=self.clock,
            read=lambda: self.setup,
        )
        self.here.clear()
        await self.gateway.start()
        self._bound()
        transport = httpx.ASGITransport(self.gateway.app())
        self.client = httpx.AsyncClient(transport=transport, base_url="http://forge")

    def _pool(self) -> HeldPool:
        self.pools.append(HeldPool())
        return self.pools[-1]

    async def stop(self) -> None:
        await self.client.aclose()
        await self.gateway.stop()
        self.unwritten.clear()
        self.unsure.clear()

    async def kill(self) -> None:
        """End without a last word: what was not written is lost, and the book hears of it."""
        keeper = self.gateway.captures.keeper
        assert keeper._task is not None
        keeper._task.cancel()
        keeper._task = None
        self.losable |= self.unsure
        self.unsure.clear()
        loop = self.gateway.accounts._loop
        assert loop is not None
        loop.cancel()
        self.gateway.accounts._loop = None
        self.book.subtract(self.unwritten)
        self.unwritten.clear()
        await self.client.aclose()
        await self.gateway.stop()

    async def flush(self) -> None:
        await self.gateway.accounts.flush()
        await self.gateway.accounts.flush()  # what came while the disk was full is next
        self.unwritten.clear()
        await self.settled()
        self.unsure.clear()

    async def settled(self) -> None:
        """Wait until the writer of captures has nothing left."""
        budget = self.gateway.captures.keeper._budget
        await true(lambda: budget.held == 0)

    def _bound(self) -> None:
        """SQLite's bound on its pages is met as a disk's end is: with the same code."""
        assert self.gateway.store is not None
        engine = self.gateway.store.database._engine
        assert engine is not None

        @event.listens_for(engine.sync_engine, "begin", insert=True)
        def bounded(connection: Any) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {self.pages or 2**30}")

    @asynccontextmanager
    async def full_disk(self) -> AsyncIterator[None]:
        assert self.gateway.store is not None
        async with self.gateway.store.database.read() as connection:
            found = await connection.exec_driver_sql("PRAGMA page_count")
            self.pages = int(found.scalar_one())
        await self.settled()
        self.unsure.clear()
        yield
        await self.settled()
        self.losable |= self.unsure
        self.pages = 0

    def say(self, **options: Any) -> None:
        """Let the sources say something else; the secret of ``app`` is as it is here."""
        config = self.setup.config.model_copy(update=options)
        keys = tuple(operators(self.secrets["app"]))
        self.setup = replace(self.setup, config=config, keys=keys)

    # ------------------------------------------------------------------ its clients

    async def admin(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        answer = await self.client.request(method, path, json=body or None, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def post(
        self,
        name: str,
        dialect: Dialect,
        secret: str | None = None,
        *,
        captured: bool = False,
        **params: Any,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret or self.secrets[name]}"}
        headers |= {"X-Capture": "1"} if captured else {}
        body = dialect.body("hello", **{"max_tokens": self.random.randint(1, 9), **params})
        response = await self.client.post(dialect.path, json=body, headers=headers)
        if captured:
            id_ = response.headers["x-capture"]
            self.captures[id_] = body, response.text
            self.here.add(id_)
            self.unsure.add(id_)
        return response

    async def ask(
        self, name: str, dialect: Dialect | None = None, *, captured: bool | None = None
    ) -> int:
        """Ask, and write down what is told; return the status."""
        dialect = dialect or self.random.choice(DIALECTS)
        if captured is None:
            captured = name == "app" and self.random.random() < 0.3
        response = await self.post(name, dialect, captured=captured)
        if response.status_code == 200:
            usage = dialect.answer(response).usage
            self.note(name, usage["prompt_tokens"] + usage["completion_tokens"])
        else:
            assert dialect.refusal(response).status == response.status_code
        return response.status_code

    def note(self, name: str, tokens: int) -> None:
        hour = int(self.clock() // HOUR)
        for book in (self.book, self.unwritten):
            book[name, hour] += tokens
            book[f"{name}.", hour] += 1

    async def told(self) -> Book:
        """Return the book as GET /usage has it."""
        found = Book()
        rows = await self.admin(
            "GET", "/usage?by=hour&since=2026-11-30&until=2026-12-02&limit=5000"
        )
        for row in rows["data"]:
            hour = row["start"] // HOUR
            found[row["key"], hour] += row["prompt_tokens"] + row["output_tokens"]
            found[f"{row['key']}.", hour] += row["requests"]
        return found

    async def kept(self) -> dict[str, dict[str, Any]]:
        """Return all captures as GET /captures has them, by their ids."""
        found, after = dict[str, dict[str, Any]](), ""
        while True:
            page = await self.admin("GET", f"/captures?limit=100{after}")
            found |= {each["id"]: each for each in page["data"]}
            if not page["has_more"]:
                return found
            after = f"&after={page['data'][-1]['id']}"

    async def captures_agree(self) -> None:
        """No capture is lost, but those of which the docs say so."""
        await self.settled()
        kept = (await self.kept()).keys()
        lost = self.captures.keys() - kept
        assert not kept - self.captures.keys()
        assert lost <= self.losable | (self.unsure if self.pages else set())
        assert self.gateway.captures.keeper.counts()["dropped"] == len(lost & self.here)

    async def captures_are_whole(self) -> None:
        """Each says what its client sent and got."""
        for id_ in await self.kept():
            found = await self.admin("GET", f"/captures/{id_}")
            body, text = self.captures[id_]
            assert json.loads(found["request"]) == body
            assert found["answer"] == text
            assert found["attempts"][0]["end"] == "ended"

    async def agree(self) -> None:
        """Both books must be the same, and what budgets have used is their sum."""
        await self.captures_agree()
        told = await self.told()
        assert +told == +self.book
        today = datetime.fromtimestamp(self.clock(), UTC).date()
        for key in (await self.admin("GET", "/keys"))["data"]:
            if key["used_today"] is None:
                continue
            mine = {hour: n for (name, hour), n in self.book.items() if name == key["name"]}
            days = {hour: datetime.fromtimestamp(hour * HOUR, UTC).date() for hour in mine}
            assert key["used_today"] == sum(n for hour, n in mine.items() if days[hour] == today)


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be written but when the test says so."""
    monkeypatch.setattr(accounts, "PERIOD_S", 1e6)


@pytest.fixture
async def day(tmp_path: Path) -> AsyncIterator[Day]:
    day = Day(tmp_path / "data")
    await day.start()
    yield day
    await day.stop()


async def quiet_hour(day: Day) -> None:
    """Nothing happens beside the requests."""


async def a_key_comes(day: Day) -> None:
    made = await day.admin("POST", "/keys", name="tool", tokens_per_day=10**6)
    day.secrets["tool"] = made["key"]
    assert await day.ask("tool") == 200


async def a_key_is_rotated(day: Day) -> None:
    """Under load: each request is answered, or told that its secret is no more."""
    old = day.secrets["tool"]
    asked = [asyncio.create_task(day.post("tool", CHAT, old)) for _ in range(8)]
    day.secrets["tool"] = (await day.admin("POST", "/keys/tool/rotate"))["key"]
    for answer in await asyncio.gather(*asked):
        assert answer.status_code in (200, 401)
        if answer.status_code == 200:
            usage = CHAT.answer(answer).usage
            day.note("tool", usage["prompt_tokens"] + usage["completion_tokens"])
    assert (await day.post("tool", CHAT, old)).status_code == 401
    assert await day.ask("tool") == 200


async def the_file_is_rotated(day: Day) -> None:
    before, day.secrets["app"] = day.secrets["app"], f"sk-app at {day.clock()}"
    day.say()
    told = await day.admin("POST", "/models/reload")
    assert (told["state"], told["keys"]) == ("done", True)
    assert [each["change"] for each in told["models"]] == ["unchanged"]
    assert (await day.post("app", CHAT, before)).status_code == 401
    assert await day.ask("app") == 200


async def the_model_and_the_file_are_reloaded(day: Day) -> None:
    """While streams run: they end well on the old workers, under a secret that is no more."""
    old, before = day.pools[-1], day.secrets["app"]
    old.holding = True
    usage: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
    }
    asked = [
        asyncio.create_task(day.post("app", CHAT, captured=at == 0, **usage)) for at in range(3)
    ]
    await true(lambda: len(old.running()) == 3)
    ids = list(old.running())
    for id_ in ids:
        old.begin(id_)
        old.progress(id_, 4)
    day.secrets["app"] = f"sk-app at {day.clock()}"
    day.say(model=next(each for each in day.models if each != day.setup.config.model))
    told = await day.admin("POST", "/models/reload")
    assert (told["state"], told["keys"]) == ("done", True)
    assert [each["change"] for each in told["models"]] == ["replaced"]
    assert (await day.post("app", CHAT, before)).status_code == 401
    assert await day.ask("app") == 200
    assert day.pools[-1] is not old
    assert len(day.pools[-1].submitted) == 1, "new requests are the new workers'"
    assert list(old.running()) == ids
    for id_ in ids:
        old.progress(id_, 5)
        old.finish(id_)
    for each in asked:
        answer = await each
        assert answer.status_code == 200
        *_, counts, end = (line for line in answer.text.splitlines() if line)
        assert end == "data: [DONE]"
        assert json.loads(counts[6:])["usage"]["completion_tokens"] == 10
        day.note("app", 7 + 10)
    await true(lambda: old.stopped)


async def a_budget_comes(day: Day) -> None:
    """It counts what was used since midnight."""
    change = await day.admin("PATCH", "/keys/tool", tokens_per_day=BUDGET)
    assert change["used_today"] > 0


async def a_budget_is_used_up(day: Day) -> None:
    for _ in range(1000):
        if await day.ask("tool") != 200:
            break
    answer = await day.post("tool", CHAT)
    assert CHAT.refusal(answer).code == "insufficient_quota"
    left = MIDNIGHT + 24 * HOUR - day.clock()
    assert answer.headers["retry-after"] == str(round(left))


async def it_is_still_used_up(day: Day) -> None:
    assert await day.ask("tool") == 429
    assert await day.ask("app") == 200


async def the_disk_is_full(day: Day) -> None:
    """Requests go on, and their tokens are counted; changes of keys are refused."""
    async with day.full_disk():
        for name in ("app", "tool", "app"):
            await day.ask(name)
        with pytest.raises(StorageFull):
            await fill(day)
        assert await day.ask("app") == 200
        await day.agree()
    await day.flush()


async def fill(day: Day) -> None:
    """Write until a page is needed that is not there."""
    for number in range(2000):
        name = f"filler {day.clock()} {number}"
        day.gateway.accounts._ledger.add(name, "m" * 200, 1, NOTHING)
        if number % 200 == 199:
            await day.gateway.accounts.flush()


async def it_is_killed(day: Day) -> None:
    """Written usage stays; the rest is lost, as the docs say."""
    await day.flush()
    await day.ask("app")
    await day.ask("app", captured=True)
    await day.kill()
    await day.start()
    assert await day.ask("app") == 200


async def it_is_restarted(day: Day) -> None:
    """An orderly end loses nothing."""
    await day.ask("app")
    await day.ask("app", captured=True)
    await day.stop()
    await day.start()


async def a_key_goes(day: Day) -> None:
    await day.admin("DELETE", "/keys/tool")
    assert (await day.post("tool", CHAT)).status_code == 401


async def it_comes_again(day: Day) -> None:
    """Under its name, with what it had used."""
    headers = {"Authorization": f"Bearer {ADMIN}"}
    refused = await day.client.post("/keys", json={"name": "tool"}, headers=headers)
    assert refused.json()["error"]["code"] == "key_leftovers", "its responses are still there"
    made = await day.admin("POST", "/keys", name="tool", tokens_per_day=BUDGET, adopt=True)
    day.secrets["tool"] = made["key"]
    assert made["used_today"] >= BUDGET
    assert await day.ask("tool") == 429


HAPPENS: dict[int, Callable[[Day], Awaitable[None]]] = {
    1: a_key_comes,
    3: a_key_is_rotated,
    4: it_is_restarted,
    5: the_model_and_the_file_are_reloaded,
    6: a_budget_comes,
    8: the_file_is_rotated,
    9: the_disk_is_full,
    11: a_key_is_rotated,
    12: it_is_killed,
    13: the_model_and_the_file_are_reloaded,
    14: a_budget_is_used_up,
    15: it_is_still_used_up,
    16: it_is_restarted,
    17: it_is_still_used_up,
    19: a_key_goes,
    20: the_disk_is_full,
    21: the_model_and_the_file_are_reloaded,
    22: it_comes_again,
    23: it_is_killed,
}


async def test_a_day(day: Day) -> None:
    for hour in range(24):
        day.clock.now = MIDNIGHT + hour * HOUR
        for part in range(4):
            day.clock.now += HOUR / 5
            for name in day.secrets:
                if name != "tool" or 1 < hour < 19:
                    assert await day.ask(name) in (200, 429)
            if day.random.random() < 0.5:
                await day.flush()
            if part == 1:
                await HAPPENS.get(hour, quiet_hour)(day)
        await day.agree()
    day.clock.now = MIDNIGHT + 24 * HOUR
    assert await day.ask("tool") == 200, "a new day, and a new month"
    await day.agree()
    await day.captures_are_whole()
    assert len(day.captures) > 20
    assert day.losable


async def test_a_budget_runs_out_while_streams_run(tmp_path: Path) -> None:
    """They end well, each with all of its tokens, and midnight does not touch them."""
    day, pool = Day(tmp_path / "data"), MemoryPool(3)
    day.clock.now = MIDNIGHT + 23 * HOUR + 3240
    await day.start(pool)
    made = await day.admin("POST", "/keys", name="tool", tokens_per_day=30)
    day.secrets["tool"] = made["key"]
    headers = {"Authorization": f"Bearer {made['key']}"}
    body = CHAT.body("hello", stream=True, stream_options={"include_usage": True})
    asked = [
        asyncio.create_task(day.client.post(CHAT.path, json=body, headers=headers))
        for _ in range(3)
    ]
    await true(lambda: len(pool.running()) == 3)
    ids = list(pool.running())
    for id_ in ids:
        pool.begin(id_)
    assert (await day.admin("GET", "/keys"))["data"][-1]["used_today"] < 30
    for id_ in ids:
        pool.progress(id_, 30)
    refused = await day.client.post(CHAT.path, json=body, headers=headers)
    assert CHAT.refusal(refused).code == "insufficient_quota"
    assert refused.headers["retry-after"] == "360"
    day.clock.now = MIDNIGHT + 24 * HOUR + 5
    for id_ in ids:
        pool.progress(id_, 10)
        pool.finish(id_)
    for each in asked:
        answer = await each
        assert answer.status_code == 200
        assert answer.text.rstrip().endswith("[DONE]")
        assert '"finish_reason":"stop"' in answer.text.replace(" ", "")
    told = await day.told()
    assert {name for name, _ in told} == {"tool", "tool."}
    assert sum(n for (name, _), n in told.items() if name == "tool.") == 3
    (hour,) = {hour for _, hour in told}
    assert hour == (MIDNIGHT + 24 * HOUR) // HOUR, "a request counts when it ends"
    await day.stop()


async def true(check: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
