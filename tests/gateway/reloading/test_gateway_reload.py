"""The whole gateway reloads, on pools in memory: what happens to requests, step by step."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from gateway.app import Gateway
from gateway.config.config import Config
from gateway.config.model_entry import ModelEntry
from gateway.dispatch.ticket import Ticket
from gateway.pool import Listener, PoolFailed, WorkerStatus
from gateway.reloading.report import ReloadReport
from gateway.served.memory_budget import MemoryBudget, MemoryShare
from gateway.served.setup import Setup
from tests.support.answering_pool import MODEL
from tests.support.memory_pool import MemoryPool, job

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], object]) -> None:
    """Wait for what takes a thread or a timer, too."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.002)


class Played(MemoryPool):
    """Two slots; it can't start if the test says so, and knows if it was stopped."""

    def __init__(self, broken: str | None = None) -> None:
        super().__init__(2)
        self.broken, self.started, self.stopped = broken, False, False

    def ready(self) -> bool:
        return self.started

    def free(self) -> int:
        return super().free() if self.started else 0

    async def start(self, listener: Listener) -> None:
        if self.broken is not None:
            raise PoolFailed(self.broken)
        self.model, self.started = MODEL, True
        await super().start(listener)
        listener.on_credit()

    async def stop(self) -> None:
        self.stopped = True


class Shrinking(Played):
    """Its one worker can be ended, and comes back."""

    capacity = 1

    def __init__(self, broken: str | None = None) -> None:
        super().__init__(broken)
        self.size = 1

    def free(self) -> int:
        return super().free() if self.size else 0

    def begin_with(self, count: int) -> None:
        assert count == 1

    async def hold(self) -> None:
        pass

    def resume(self) -> None:
        self.grow()

    async def shrink(self) -> None:
        assert not self.running(), "it has work"
        self.size = 0

    def grow(self) -> None:
        self.size = 1
        self.listener.on_credit()


class Two(Played):
    """Two workers of one slot that can be ended one by one, the second first."""

    capacity = 2

    def __init__(self, broken: str | None = None) -> None:
        super().__init__(broken)
        self.slots, self.in_flight = (1, 1), [{}, {}]
        self.leaving, self.size = set[int](), 2

    def free(self) -> int:
        return sum(self._free().values()) if self.started else 0

    def _free(self) -> dict[int, int]:
        there = super()._free()
        return {id_: there[id_] for id_ in range(self.size) if id_ not in self.leaving}

    def workers(self) -> list[WorkerStatus]:
        return [
            replace(
                status,
                state="draining" if status.id in self.leaving else "ready",
                held=tuple(self.in_flight[status.id]),
            )
            for status in super().workers()[: self.size]
        ]

    def begin_with(self, count: int) -> None:
        self.size = count

    async def hold(self) -> None:
        pass

    def resume(self) -> None:
        self.grow()

    async def shrink(self) -> None:
        last = self.size - 1
        self.leaving.add(last)
        await until(lambda: not self.in_flight[last])
        self.leaving.remove(last)
        self.size = last

    def grow(self) -> None:
        self.size += 1
        self.listener.on_credit()


@dataclass
class House:
    """A gateway, what its sources say, and the pools that were made."""

    setup: Setup
    kind: Callable[[str | None], Played] = Played
    broken: str | None = None
    pools: list[Played] = field(default_factory=list)

    def make(self, config: Config, first: int) -> Played:
        self.pools.append(self.kind(self.broken))
        return self.pools[-1]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["House"]:
        entries = self.setup.entries
        plan = MemoryBudget([MemoryShare(each, 0) for each in entries], 10**9) if entries else None
        self.gateway = Gateway(
            self.setup.config,
            pool=None if entries else self.make(self.setup.config, 0),
            plan=plan,
            make=self.make,
            read=lambda: self.setup,
        )
        transport = httpx.ASGITransport(self.gateway.app())
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")
        await self.gateway.start()
        yield self
        await self.client.aclose()
        await self.gateway.drain(0)
        await self.gateway.stop()
        assert all(pool.stopped for pool in self.pools)

    async def reload(self, only: str | None = None) -> ReloadReport:
        self.gateway.reloader.begin(only)
        return await self.gateway.reloader.wait()

    def say(self, **options: Any) -> None:
        config = self.setup.config.model_copy(update=options)
        self.setup = replace(self.setup, config=config)

    def submit(self, name: str | None = None, **fields: Any) -> Ticket:
        served = self.gateway.registry.get(name)
        assert served is not None
        return served.dispatcher.submit(job(model=served.name, **fields))

    async def running(self, pool: Played, *tickets: Ticket) -> None:
        await until(lambda: {each.id for each in tickets} <= set(pool.running()))


def one(**options: Any) -> Setup:
    return Setup(Config(alias="m", spare=False, **options), (), ())


def several(**models: dict[str, Any]) -> Setup:
    entries = tuple(
        ModelEntry(Config(alias=name, ctx=512), keep_alive=None, **more)
        for name, more in models.items()
    )
    return Setup(Config(ctx=512), entries, ())


async def test_new_requests_go_to_new_workers_and_old_ones_end_on_theirs() -> None:
    async with House(one(ctx=512)).serving() as house:
        (old,) = house.pools
        begun, also = house.submit(), house.submit()
        await house.running(old, begun, also)
        old.progress(begun.id)
        waits = house.submit()
        house.say(ctx=1024)
        report = await house.reload()
        assert report["models"] == [{"model": "m", "change": "replaced", "reason": "new ctx"}]
        new = house.pools[1]
        await house.running(new, waits)
        after = house.submit()
        await house.running(new, after)
        registry = house.gateway.registry
        assert (registry.running(), registry.first.dispatcher.stats.running()) == (4, 2)
        assert len(registry.workers()) == 2
        for pool, ticket in ((old, begun), (old, also)):
            assert not pool.stopped
            pool.finish(ticket.id)
        await until(lambda: old.stopped)
        for ticket in (waits, after):
            new.finish(ticket.id)
        assert registry.first.outgoing == []
        await until(lambda: len(registry.workers()) == 1)


async def test_what_is_of_requests_leaves_the_workers() -> None:
    async with House(one(ctx=512)).serving() as house:
        house.say(sampling={"temperature": 0.5}, max_body=2048)
        report = await house.reload()
        assert [each["change"] for each in report["models"]] == ["settings"]
        assert len(house.pools) == 1
        assert house.gateway.registry.first.sampling == {"temperature": 0.5}
        body = {"prompt": "x" * 3000, "model": "m"}
        answer = await house.client.post("/v1/completions", json=body)
        assert answer.status_code == 413, "the new bound counts"
        assert [each["change"] for each in (await house.reload())["models"]] == ["unchanged"]


async def test_workers_that_can_not_start_change_nothing() -> None:
    async with House(one(ctx=512)).serving() as house:
        house.broken = "the file is damaged"
        house.say(ctx=1024)
        report = await house.reload()
        assert report["models"][0]["change"] == "failed"
        assert report["models"][0]["reason"] == "the file is damaged"
        old, failed = house.pools
        assert failed.stopped
        ticket = house.submit()
        await house.running(old, ticket)
        old.finish(ticket.id)
        assert house.gateway.registry.first.config.ctx == 512
        house.broken = None
        assert (await house.reload())["models"][0]["change"] == "replaced", "it is tried again"


@pytest.mark.parametrize("broken", [None, "the file is damaged"])
async def test_with_one_worker_and_no_room_the_queue_waits(
    broken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.served.memory_budget.need_of", lambda config: 100 << 20)
    house = House(one(ctx=512, memory_budget=160), kind=Shrinking)
    async with house.serving():
        (old,) = house.pools
        begun = house.submit()
        await house.running(old, begun)
        old.progress(begun.id)
        house.broken = broken
        house.say(ctx=1024)
        house.gateway.reloader.begin()
        await until(lambda: len(house.pools) == 2)
        waits = house.submit()
        await asyncio.sleep(0)
        new = house.pools[1]
        assert not old.stopped
        assert new.running() == {}
        assert (await house.client.get("/health")).status_code == 200
        assert house.gateway.registry.depth() == 1
        old.finish(begun.id)
        report = await house.gateway.reloader.wait()
        assert report["models"][0]["change"] == ("replaced" if broken is None else "failed")
        await house.running(new if broken is None else old, waits)
        (new if broken is None else old).finish(waits.id)
        assert {each.error for each in (begun, waits)} == {None}


async def test_a_name_that_is_another_one() -> None:
    """Metrics have series for it from then on."""
    async with House(one(ctx=512)).serving() as house:
        house.say(alias="other")
        report = await house.reload()
        assert [each["model"] for each in report["models"]] == ["other"]
        ticket = house.submit("other")
        await house.running(house.pools[0], ticket)
        house.pools[0].finish(ticket.id)
        answer = await house.client.get("/metrics", headers={"Accept": "text/plain"})
        assert 'forge_requests_total{class="normal",model="other",outcome="finished"} 1.0' in (
            answer.text
        )
        assert house.gateway.registry.get("m") is None


async def test_models_appear_and_are_retired() -> None:
    async with House(several(a={}, b={})).serving() as house:
        a, b = house.submit("a"), house.submit("b")
        await until(lambda: len(house.pools) == 2)
        pools = {next(iter(pool.running())): pool for pool in house.pools if pool.running()}
        await until(lambda: sum(len(pool.running()) for pool in house.pools) == 2)
        pools = {next(iter(pool.running())): pool for pool in house.pools}
        kept = house.gateway.registry.get("a")
        house.setup = several(c={"aliases": ["other"]}, b={})
        report = await house.reload()
        told = {each["model"]: each["change"] for each in report["models"]}
        assert told == {"c": "added", "b": "unchanged", "a": "retired"}
        registry = house.gateway.registry
        assert [each.name for each in registry.configured] == ["c", "b"]
        assert registry.get("a") is None
        assert registry.first.name == "c"
        assert kept is not None
        with pytest.raises(Exception, match="the model 'a' is served no more"):
            kept.dispatcher.submit(job(model="a"))
        pools[a.id].progress(a.id)
        assert not a.ended
        pools[a.id].finish(a.id)
        await until(lambda: "a" not in registry.names)
        assert pools[a.id].stopped
        c = house.submit("other")
        await until(lambda: len(house.pools) == 3)
        await house.running(house.pools[2], c)
        house.pools[2].finish(c.id)
        pools[b.id].finish(b.id)
        house.setup = several(c={}, b={}, a={})
        assert (await house.reload())["models"][0]["change"] == "added", "it may come back"


async def test_a_model_on_demand_is_replaced_while_it_is_loaded_and_changed_while_it_is_not() -> (
    None
):
    async with House(several(a={}, b={})).serving() as house:
        ticket = house.submit("a")
        await until(lambda: len(house.pools) == 1)
        await house.running(house.pools[0], ticket)
        house.setup = replace(
            house.setup,
            entries=tuple(
                replace(each, config=each.config.model_copy(update={"ctx": 1024}))
                for each in house.setup.entries
            ),
        )
        report = await house.reload()
        assert [each["change"] for each in report["models"]] == ["replaced", "settings"]
        later = house.submit("a")
        await house.running(house.pools[1], later)
        house.pools[0].finish(ticket.id)
        await until(lambda: house.pools[0].stopped)
        house.pools[1].finish(later.id)
        registry = house.gateway.registry
        assert [each.config.ctx for each in registry.configured] == [1024, 1024]
        assert [each.state for each in registry.configured] == ["loaded", "unloaded"]


async def test_a_question_meets_workers_however_they_change() -> None:
    async with House(one(ctx=512)).serving() as house:
        house.say(ctx=1024)
        await house.reload()
        asked = asyncio.create_task(
            house.client.post("/tokenize", json={"content": "x", "model": "m"})
        )
        await until(lambda: bool(house.pools[1].asked))
        house.pools[1].asked[0][1].cancel()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


async def test_a_slow_reader_keeps_old_workers_for_its_time_only() -> None:
    async with House(one(ctx=512, retire_timeout=0)).serving() as house:
        ticket = house.submit()
        await house.running(house.pools[0], ticket)
        house.say(ctx=1024)
        await house.reload()
        await until(lambda: ticket.ended)
        assert "the time for requests on its old workers is over" in str(ticket.error)
        house.pools[0].finish(ticket.id, "cancelled")
        await until(lambda: house.pools[0].stopped)


@asynccontextmanager
async def short_of_memory(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[str | None], Played], patience_s: float
) -> AsyncIterator[House]:
    """The budget has room for one set of workers, of which each has a request."""
    monkeypatch.setattr("gateway.served.memory_budget.need_of", lambda config: 100 << 20)
    setup = one(ctx=512, memory_budget=160, retire_timeout=patience_s)
    async with House(setup, kind=kind).serving() as house:
        yield house


def begun(house: House) -> Ticket:
    """A request that has its first two tokens."""
    (ticket, pool) = (house.submit(), house.pools[0])
    house.gateway.dispatcher._slots.match()
    pool.begin(ticket.id)
    pool.progress(ticket.id, 2)
    return ticket


class Placeless(Shrinking):
    """No machine has room for its worker."""

    async def start(self, listener: Listener) -> None:
        await asyncio.Event().wait()


async def test_the_wait_for_a_new_worker_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one comes back, and serves what has waited."""
    monkeypatch.setattr("gateway.served.replacement.START_S", 0.05)
    async with short_of_memory(monkeypatch, Shrinking, 3600) as house:
        house.kind = Placeless
        house.say(ctx=1024)
        report = await house.reload()
        (told,) = report["models"]
        assert told["change"] == "failed"
        assert told["reason"] == "no new worker was ready within 0.05 s"
        (old, _) = house.pools
        later = house.submit()
        await house.running(old, later)
        old.finish(later.id)


@pytest.mark.parametrize("kind", [Shrinking, Two])
async def test_it_is_told_what_a_reload_waits_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: type[Played]
) -> None:
    monkeypatch.setattr("gateway.served.replacement.TOLD_S", 0)
    async with short_of_memory(monkeypatch, kind, 3600) as house:
        tickets = [begun(house) for _ in range(1 if kind is Shrinking else 2)]
        house.say(ctx=1024)
        house.gateway.reloader.begin()
        reloader = house.gateway.reloader
        await until(lambda: reloader.report["waiting"])
        told = (await house.client.get("/models/reload")).json()["waiting"]
        then = "these fail" if kind is Shrinking else "another old worker goes on with these"
        words = r"m: 1 request has its old workers still; in 3[56]\d\d s " + then
        assert re.fullmatch(words, told)
        await until(lambda: "the reload waits: m: 1 request has" in caplog.text)
        for ticket in reversed(tickets):
            house.pools[0].finish(ticket.id)
        report = await reloader.wait()
        assert (report["state"], report["waiting"]) == ("done", None)
        assert report["models"][0]["change"] == "replaced"
        assert not any(ticket.error for ticket in tickets)


async def test_streams_of_the_first_old_worker_have_their_time_and_go_on_on_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what the last old worker has fails after it: no other one computes that file."""
    async with short_of_memory(monkeypatch, Two, 0.01) as house:
        one_, two = begun(house), begun(house)
        old, before = house.pools[0], list(two.sequences[0].ids)
        house.say(ctx=1024)
        house.gateway.reloader.begin()
        await until(lambda: old.asked_to_park == [two.id])
        old.finish(one_.id)
        assert len(house.pools) == 2
        assert not house.pools[1].started
        old.yield_slot(two.id)
        await until(lambda: two.id in old.in_flight[0])
        assert old.submitted[-1].resume == before
        assert old.progress(two.id, 1)
        assert two.error is None
        await until(lambda: two.ended)
        assert "the time for requests on its old workers is over" in str(two.error)
        old.finish(two.id, "cancelled")
        report = await house.gateway.reloader.wait()
        assert report["models"] == [{"model": "m", "change": "replaced", "reason": "new ctx"}]
        assert one_.error is None
        later = house.submit()
        await house.running(house.pools[1], later)
        house.pools[1].finish(later.id)


async def test_over_http() -> None:
    async with House(one(ctx=512)).serving() as house:
        told = await house.client.get("/models/reload")
        assert told.json()["state"] == "none"
        answer = await house.client.post("/models/reload", json={"model": "m"})
        assert answer.json()["models"][0]["change"] == "unchanged"
        answer = await house.client.post("/models/reload", json={"wait": False})
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        await house.gateway.reloader.wait()
        answer = await house.client.post("/models/reload", json={"model": "nobody"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "reload_refused")
        answer = await house.client.post("/models/reload", json={"models": "m"})
        assert answer.status_code == 400
        house.broken = "the file is damaged"
        house.say(ctx=1024)
        answer = await house.client.post("/models/reload")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "reload_failed")
        assert "m: the file is damaged" in answer.json()["error"]["message"]
