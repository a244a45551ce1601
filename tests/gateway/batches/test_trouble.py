"""Batches whose lines are refused or fail, whose disk is full, whose server ends or dies."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from gateway.batches.answers import TokenCounts, result_line
from gateway.batches.line_store import LineStore
from gateway.batches.record import DoneLine, Exchange
from gateway.core.api_key import ApiKey
from tests.gateway.batches.desk import DEAD, GONE, REFUSED, Answer, Call, Desk, ids, said, true

pytestmark = pytest.mark.anyio


async def test_refusals_are_waited_for_and_never_told(desk: Desk) -> None:
    refused = replace(REFUSED, headers={"retry-after": "0.05"})

    def answer(call: Call, tries: int) -> Answer:
        return refused if tries < 3 and call.body["prompt"] in "25" else said(call)

    desk.endpoints.answer = answer
    batch = await desk.ended(await desk.batch(8))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 8, 0)
    assert desk.runner.feed.counts()["retried"] == 4


async def test_a_refused_owner_does_not_hold_the_window(desk: Desk) -> None:
    desk.keys |= {"slow": ApiKey("slow", b"1"), "quick": ApiKey("quick", b"2")}
    far = replace(REFUSED, headers={"retry-after": "60"})
    desk.endpoints.answer = lambda call, tries: far if call.key.name == "slow" else said(call)
    await desk.batch(100, "slow")
    await true(lambda: len(desk.endpoints.calls) >= 1, "it was refused")
    assert (await desk.ended(await desk.batch(50, "quick"), "quick")).completed == 50
    assert sum(call.key.name == "slow" for call in desk.endpoints.calls) <= 4


async def test_a_worker_s_death_is_not_told(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: DEAD if tries == 1 else said(call)
    batch = await desk.ended(await desk.batch(3))
    assert (batch.completed, batch.failed) == (3, 0)


async def test_a_line_that_kills_workers_fails_alone(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: DEAD if call.body["prompt"] == "1" else said(call)
    batch = await desk.ended(await desk.batch(3))
    assert (batch.completed, batch.failed) == (2, 1)
    (error,) = await desk.read(batch.error_file)
    assert error["response"]["body"] == DEAD.body
    assert sum(call.body["prompt"] == "1" for call in desk.endpoints.calls) == 2


async def test_a_bug_in_one_line_is_its_result(desk: Desk) -> None:
    def answer(call: Call, tries: int) -> Answer:
        if call.body["prompt"] == "1":
            raise RuntimeError("a bug")
        return said(call)

    desk.endpoints.answer = answer
    batch = await desk.ended(await desk.batch(3))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 1)
    (error,) = await desk.read(batch.error_file)
    assert error["error"] == {"code": "internal_error", "message": "internal error"}


async def test_a_key_that_is_revoked_while_its_lines_are_taken(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, key = desk.runner._lines, desk.keys[""]
    taken = list[int]()

    async def exchange(*what: Any) -> Exchange:
        found = await LineStore.exchange(rows, *what)
        if found.taken and not taken:
            taken.extend(each.number for each in found.taken)
            del desk.keys[""]
        return found

    monkeypatch.setattr(rows, "exchange", exchange)
    id_ = await desk.batch(20)
    await true(lambda: "" not in desk.keys, "its first lines are taken")
    await true(lambda: desk.runner.feed.counts()["running"] == 0, "none of them runs")
    assert desk.endpoints.calls == []
    desk.keys[""] = key
    batch = await desk.ended(id_)
    assert (batch.status, batch.completed) == ("completed", 20)


async def test_a_model_that_is_gone_for_a_while(desk: Desk) -> None:
    """The server was started with another one: nothing fails, and the batch goes on later."""
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    desk.models.name = "another"
    desk.endpoints.answer = lambda call, tries: GONE if desk.models.name != "tiny" else said(call)
    desk.endpoints.gate.set()
    await true(lambda: desk.runner.feed.counts()["running"] == 0, "its lines wait")
    for _ in range(10):
        desk.runner.poke()
        await asyncio.sleep(0.01)
    assert len(desk.endpoints.calls) == 4
    assert (await desk.find(id_)).failed == 0
    desk.models.name = "tiny"
    batch = await desk.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 20, 0)


async def test_a_full_disk_fails_the_batch_with_the_reason(desk: Desk) -> None:
    """SQLite's own bound on its pages is met as a disk's end is: with the same code."""
    engine = desk.store.database._engine
    assert engine is not None
    limit = 0

    @event.listens_for(engine.sync_engine, "begin", insert=True)
    def bounded(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit or 2**30}")

    large = {"text": "x" * 200_000}
    desk.endpoints.gate.clear()
    desk.endpoints.answer = lambda call, tries: Answer(200, large)
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    async with desk.store.database.read() as connection:
        limit = int((await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()) + 2
    desk.endpoints.gate.set()
    batch = await desk.ended(id_)
    assert batch.status == "failed"
    assert [each["code"] for each in batch.errors] == ["storage_full"]
    assert batch.failed_at is not None
    limit = 0
    assert (await desk.ended(await desk.batch(2))).status == "completed"


# ------------------------------------------------------------------ restarts


async def test_a_server_that_ends_gives_its_lines_back(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    await desk.stop()
    assert desk.endpoints.open == 0
    desk.endpoints.gate.set()
    await desk.start()
    batch = await desk.ended(id_)
    assert (batch.completed, batch.failed) == (20, 0)
    assert len(desk.endpoints.calls) == 24
    assert ids(await desk.read(batch.output_file)) == [str(number) for number in range(20)]


async def test_a_drain_waits_for_lines_in_flight(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    draining = asyncio.create_task(desk.runner.drain())
    await asyncio.sleep(0.01)
    desk.endpoints.gate.set()
    await draining
    assert (await desk.find(id_)).completed == 4
    assert len(desk.endpoints.calls) == 4


async def test_a_server_that_dies_leaves_nothing_behind(desk: Desk) -> None:
    """Its task ends, and nothing is noted; the next server finds lines that a dead one has."""
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    await desk.die()
    desk.endpoints.gate.set()
    await true(lambda: desk.runner.feed.flights.landed == 4, "results that are never noted")
    await desk.store.close()
    await desk.start()
    batch = await desk.ended(id_)
    assert (batch.completed, batch.failed) == (20, 0)
    assert len(desk.endpoints.calls) == 24
    assert ids(await desk.read(batch.output_file)) == [str(number) for number in range(20)]


async def test_a_result_that_comes_twice_counts_once(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    id_ = await desk.batch(4)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    told = result_line(id_, 1, "0", Answer(200, {}), "r")
    done = [DoneLine(id_, 1, True, told, TokenCounts(7, 0, 2, 0))]
    rows = desk.runner._lines
    assert (await rows.exchange(done, [], {})).recorded == {id_: (1, 0)}
    assert (await rows.exchange(done, [], {})).recorded == {id_: (0, 0)}
    desk.endpoints.gate.set()  # it is answered once more
    batch = await desk.ended(id_)
    assert (batch.completed, batch.failed) == (4, 0)
    assert batch.tokens.input == 28
    assert ids(await desk.read(batch.output_file)) == [*"0123"]
