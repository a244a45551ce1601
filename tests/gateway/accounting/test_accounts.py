"""The way of what was counted into the store, when that fails, and back out of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path

import pytest

from gateway.accounting import accounts as module
from gateway.accounting.accounts import Accounts
from gateway.config.api_keys import Keyring, digest
from gateway.core.api_key import ApiKey
from gateway.core.errors import StorageFull, StoreOff, Unavailable
from gateway.core.usage_counts import UsageCounts, UsageKey, UsageQuestion, UsageSum
from gateway.dispatch.budgets import Budgets, Spent
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.stored.store import Store
from gateway.stored.usage_rows import UsageRows
from tests.support.stored_files import ROOM, SetClock
from workers.protocol import GenerationParams, Sampling, Started, Text

pytestmark = pytest.mark.anyio

EVER = UsageQuestion("hour", 0, 10**7)
HOUR = 500_000
"""Of the clock's."""
KEYS = [ApiKey("app", digest("sk-app"), tokens_per_day=1000)]


def ended(prompt: int, cached: int, output: int, model: str = "", owner: str = "app") -> Ticket:
    job = Job((Text(""),), GenerationParams(Sampling(1)), 1.0, 0.0, owner=owner, model=model)
    ticket = Ticket(1, job, 0)
    (sequence,) = ticket.sequences
    if prompt:
        sequence.started = Started(1, 1, prompt, cached)
    sequence.ids = [7] * output
    return ticket


class Place:
    """A folder, and servers that have it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, SetClock(HOUR * 3600.0 + 5)
        self.budgets = Budgets(KEYS, self.clock)
        self._stores = list[Store]()
        self._count = 0

    async def accounts(self, days: int = 400, *, stored: bool = True) -> Accounts:
        self._count += 1
        self.budgets = Budgets(KEYS, self.clock)
        store = Store(self.folder, None, ROOM, self.clock) if stored else None
        if store is not None:
            self._stores.append(store)
            await store.open()
        name = f"server {self._count}"
        made = Accounts(Keyring(KEYS), self.budgets, "first", store, days, self.clock, name)
        await made.open()
        return made

    async def close(self) -> None:
        while self._stores:
            await self._stores.pop().close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path / "data")
    yield place
    await place.close()


async def test_usage_outlives_the_server(place: Place) -> None:
    accounts = await place.accounts()
    accounts.recorder.on_end(ended(10, 4, 3))
    accounts.recorder.on_end(ended(20, 0, 5, "second", owner=""))
    accounts.recorder.on_end(ended(0, 0, 0))  # cancelled before it began
    both = [
        UsageSum(HOUR, "", "second", UsageCounts(1, 20, 0, 5)),
        UsageSum(HOUR, "app", "first", UsageCounts(2, 10, 4, 3)),
    ]
    assert await accounts.read(EVER) == both
    await accounts.flush()
    accounts.recorder.on_end(ended(1, 0, 1))
    await accounts.flush()
    both[1] = both[1]._replace(counts=UsageCounts(3, 11, 4, 4))
    assert await accounts.read(EVER) == both
    await place.close()
    again = await place.accounts()
    assert await again.read(EVER) == both
    assert place.budgets.used("app") == (15, 15)
    assert again.stored


async def test_without_a_store_it_is_counted_in_memory(place: Place) -> None:
    accounts = await place.accounts(stored=False)
    for _ in range(2):
        accounts.recorder.on_end(ended(10, 4, 3))
        await accounts.flush()
    assert await accounts.read(EVER) == [UsageSum(HOUR, "app", "first", UsageCounts(2, 20, 8, 6))]
    assert place.budgets.used("app") == (26, 26)
    assert not accounts.stored
    with pytest.raises(StoreOff, match="--data-dir"):
        accounts.keys()


async def test_without_usage_budgets_are_counted_all_the_same(place: Place) -> None:
    accounts = await place.accounts(days=0)
    accounts.recorder.on_end(ended(10, 4, 3))
    await accounts.flush()
    assert await accounts.read(EVER) == []
    await place.close()
    await place.accounts(days=0)
    assert place.budgets.used("app") == (13, 13)


class Failing(UsageRows):
    """A database whose disk is full, or whose answers are lost after the commit."""

    full = lost = False

    async def add(
        self,
        writer: str,
        number: int,
        sums: Mapping[UsageKey, UsageCounts],
        spent: Mapping[Spent, int],
        wanted: Collection[Spent],
    ) -> dict[Spent, int]:
        if self.full:
            raise StorageFull("the disk of the database is full")
        found = await super().add(writer, number, sums, spent, wanted)
        if self.lost:
            raise Unavailable("the database does not answer")
        return found


async def test_nothing_is_lost_or_counted_twice_while_the_store_fails(place: Place) -> None:
    accounts = await place.accounts()
    store = place._stores[0]
    rows = accounts._usage = Failing(store.database, place.clock)
    requests = 0
    for trouble in ("full", "lost", "full", "", "lost", "lost", ""):
        for _ in range(3):
            accounts.recorder.on_end(ended(10, 4, 3))
            requests += 1
        rows.full, rows.lost = trouble == "full", trouble == "lost"
        if trouble:
            with pytest.raises((StorageFull, Unavailable)):
                await accounts.flush()
        else:
            await accounts.flush()
            await accounts.flush()  # what came while the store did not answer
            (found,) = await accounts.read(EVER)
            assert found.counts.requests == requests
        assert place.budgets.used("app")[0] == 13 * requests
        place.clock.now += 1
    await place.close()
    again = await place.accounts()
    (found,) = await again.read(EVER)
    assert found.counts == UsageCounts(requests, 10 * requests, 4 * requests, 3 * requests)
    assert place.budgets.used("app")[0] == 13 * requests


async def test_the_loop_goes_on_while_the_store_fails_and_says_so_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    caplog.set_level(logging.INFO, "forge.usage")
    accounts = await place.accounts()
    rows = accounts._usage = Failing(place._stores[0].database, place.clock)
    rows.full = True
    accounts.recorder.on_end(ended(10, 4, 3))
    accounts.start()
    await true(lambda: "usage is counted in memory" in caplog.text)
    rows.full = False
    await true(lambda: "usage is written again" in caplog.text)
    await accounts.stop()
    told = [each.levelname for each in caplog.records if each.name == "forge.usage"]
    assert told == ["WARNING", "INFO"]
    assert place.budgets.unstored() == {}
    assert (await rows.read(EVER))[0].counts.requests == 1


class Keys:
    """Keys of the store that can't be read, or can."""

    def __init__(self) -> None:
        self.failing, self.looks = True, 0

    async def look(self) -> None:
        self.looks += 1
        if self.failing:
            raise Unavailable("the database does not answer")


async def test_each_thing_that_fails_is_said_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys can't be read while usage can be written: neither has a say about the other."""
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    monkeypatch.setattr(Accounts, "_shared", True)
    caplog.set_level(logging.INFO, "forge.usage")
    accounts, keys = await place.accounts(), Keys()
    monkeypatch.setattr(accounts, "_keys", keys)
    accounts.start()
    await true(lambda: keys.looks >= 5)
    keys.failing, before = False, keys.looks
    await true(lambda: keys.looks > before + 1)
    await accounts.stop()
    assert [each.message for each in caplog.records if each.name == "forge.usage"] == [
        "keys are not read for now: the database does not answer",
        "keys are read again",
    ]


async def test_the_end_writes_what_is_left(place: Place) -> None:
    accounts = await place.accounts()
    accounts.start()
    accounts.recorder.on_end(ended(10, 4, 3))
    await accounts.stop()
    assert (await accounts._usage.read(EVER))[0].counts.requests == 1


async def true(check: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
