"""Batches on a real store; the endpoints are played."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select

from gateway.batches import batch_store
from gateway.batches.answers import TokenCounts, result_line
from gateway.batches.record import DoneLine
from gateway.batches.runner import GRACE_S
from gateway.core.api_key import ApiKey
from gateway.core.errors import BatchEnded, NotFound, QueueFull
from gateway.stored.tables import lines as line_rows
from tests.gateway.batches.desk import (
    DAY,
    Answer,
    Call,
    Desk,
    line,
    lines,
    running,
    said,
    true,
    until,
)

pytestmark = pytest.mark.anyio

REFUSED = Answer(429, {"error": {"code": "rate_limit_exceeded"}}, {"retry-after": "0.5"})
DEAD = Answer(500, {"error": {"code": "worker_failed", "message": "4 workers died"}})
WRONG = Answer(400, {"error": {"code": "invalid_request", "message": "no"}}, {"x-request-id": "r"})


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(tmp_path / "data") as desk:
        yield desk


def ids(results: list[dict[str, Any]]) -> list[str]:
    return [each["custom_id"] for each in results]


async def rows_left(desk: Desk) -> int:
    async with desk.store.database.read() as connection:
        return int(
            (await connection.execute(select(func.count()).select_from(line_rows))).scalar_one()
        )


# ------------------------------------------------------------------ from the file to the output


async def test_each_line_has_its_answer_in_the_order_of_the_input(desk: Desk) -> None:
    id_ = await desk.batch(50, metadata={"job": "x"})
    batch = await desk.ended(id_)
    assert (batch.status, batch.model, batch.total, batch.completed, batch.failed) == (
        "completed",
        "tiny",
        50,
        50,
        0,
    )
    assert batch.tokens == TokenCounts(350, 200, 100, 0)
    assert batch.errors == []
    assert (batch.error_file, batch.metadata) == (None, {"job": "x"})
    moments = (batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    assert moments == (int(desk.now),) * 3
    results = await desk.read(batch.output_file)
    assert ids(results) == [str(number) for number in range(50)]
    for each in results:
        assert each["error"] is None
        assert each["response"]["status_code"] == 200
        assert each["response"]["body"]["text"] == each["custom_id"][::-1]
    assert len({each["id"] for each in results}) == 50
    assert len(desk.endpoints.calls) == 50
    assert await rows_left(desk) == 0
    assert desk.runner.feed.counts() == Counter(completed=50)


async def test_errors_have_a_file_of_their_own(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: WRONG if call.body["prompt"] in "37" else said(call)
    batch = await desk.ended(await desk.batch(9))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 7, 2)
    errors = await desk.read(batch.error_file)
    assert ids(errors) == ["3", "7"]
    response = {"status_code": 400, "request_id": "r", "body": WRONG.body}
    assert [each["response"] for each in errors] == [response] * 2
    assert ids(await desk.read(batch.output_file)) == [*"0124568"]


async def test_without_success_there_is_no_output(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: WRONG
    batch = await desk.ended(await desk.batch(3))
    assert (batch.status, batch.output_file, batch.failed) == ("completed", None, 3)


async def test_one_wrong_line_and_none_runs(desk: Desk) -> None:
    id_ = await desk.batch(lines(300) + b"{\n" + lines(300, "x") + line("7"))
    batch = await desk.ended(id_)
    assert (batch.status, batch.output_file, batch.error_file) == ("failed", None, None)
    assert [(each["code"], each["line"]) for each in batch.errors] == [
        ("invalid_json_line", 301),
        ("duplicate_custom_id", 602),
    ]
    assert (batch.failed_at, batch.total) == (int(desk.now), 0)
    assert desk.endpoints.calls == []
    assert await rows_left(desk) == 0


async def test_a_file_that_is_gone(desk: Desk) -> None:
    desk.keys.clear()  # so that it waits
    id_ = await desk.batch(3)
    await desk.store.files.delete("", (await desk.find(id_)).input_file)
    desk.keys[""] = ApiKey("", b"")
    batch = await desk.ended(id_)
    assert [each["code"] for each in batch.errors] == ["file_not_found"]


async def test_output_expires_if_that_was_asked_for(desk: Desk) -> None:
    batch = await desk.ended(await desk.batch(1, output_age=7200))
    assert batch.output_file is not None
    file = await desk.store.files.get("", batch.output_file)
    assert (file.purpose, file.expires_at) == ("batch_output", int(desk.now) + 7200)
    assert file.filename == f"{batch.id}_output.jsonl"


# ------------------------------------------------------------------ which lines run


async def test_the_window_is_twice_the_slots(desk: Desk) -> None:
    desk.models.n = 3
    desk.endpoints.gate.clear()
    first = await desk.batch(40)
    second = await desk.batch(40)
    await true(lambda: desk.endpoints.open == 6, "the window is full")
    for _ in range(20):
        desk.runner.poke()
        await asyncio.sleep(0.01)
    assert len(desk.runner.feed.flights) == 6
    assert desk.runner.feed.counts()["waiting"] == 74
    desk.endpoints.gate.set()
    assert (await desk.ended(first)).completed == (await desk.ended(second)).completed == 40
    assert desk.endpoints.most == 6


async def test_lines_with_one_beginning_follow_each_other(desk: Desk) -> None:
    system = {kind: kind * 500 for kind in "abc"}
    content = b"".join(
        line(f"{kind}{number}", f"{system[kind]} {number}")
        for number in range(30)
        for kind in "abc"
    )
    await desk.ended(await desk.batch(content))
    kinds = [call.body["prompt"][0] for call in desk.endpoints.calls]
    assert sum(before != after for before, after in pairwise(kinds)) == 2


async def test_owners_share_the_window_whatever_they_send(desk: Desk) -> None:
    desk.keys |= {"many": ApiKey("many", b"1"), "one": ApiKey("one", b"2")}
    desk.models.n = 4
    desk.endpoints.gate.clear()
    for _ in range(5):
        await desk.batch(20, "many")
    await true(lambda: desk.endpoints.open == 8, "the window is full of one owner's")
    await desk.runs(await desk.batch(60, "one"))
    desk.endpoints.gate.set()
    await true(lambda: len(desk.endpoints.calls) >= 100, "half is done")
    owners = Counter(call.key.name for call in desk.endpoints.calls[8:100])
    assert abs(owners["many"] - owners["one"]) <= 16


async def test_lines_are_spare_at_batch_priority(desk: Desk) -> None:
    desk.keys |= {"low": ApiKey("low", b"1", max_priority=-2.0)}
    await desk.ended(await desk.batch(2))
    await desk.ended(await desk.batch(2, priority=-1.0))
    await desk.ended(await desk.batch(2, priority=1.5))
    await desk.ended(await desk.batch(2, "low"), "low")
    ranks = [(call.priority, call.spare) for call in desk.endpoints.calls[::2]]
    assert ranks == [(0.0, True), (-1.0, True), (1.5, False), (-2.0, True)]
    assert [call.key.name for call in desk.endpoints.calls[-2:]] == ["low", "low"]


async def test_the_more_urgent_of_an_owners_batches_goes_first(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    await desk.batch(30)
    await true(lambda: desk.endpoints.open == 4, "the window is full")
    urgent = await desk.batch(10, priority=1.0)
    await desk.runs(urgent)
    desk.endpoints.gate.set()
    await desk.ended(urgent)
    order = [call.priority for call in desk.endpoints.calls]
    assert order[4:14].count(1.0) == 10


async def test_a_revoked_key_s_batches_stop(desk: Desk) -> None:
    key = ApiKey("k", b"1")
    desk.keys["k"] = key
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20, "k")
    await true(lambda: desk.endpoints.open == 4, "it runs")
    del desk.keys["k"]
    desk.runner.poke()
    await true(lambda: desk.endpoints.open == 0, "its lines stop")
    calls = len(desk.endpoints.calls)
    desk.endpoints.gate.set()
    for _ in range(10):
        desk.runner.poke()
        await asyncio.sleep(0.01)
    assert len(desk.endpoints.calls) == calls
    desk.keys["k"] = key  # the file of keys was wrong, and is right again
    assert (await desk.ended(id_, "k")).completed == 20


async def test_a_key_has_so_many_open_batches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_store, "MOST_OPEN", 2)
    desk.endpoints.gate.clear()
    desk.keys["other"] = ApiKey("other", b"1")
    await desk.batch(1)
    await desk.batch(1)
    with pytest.raises(QueueFull):
        await desk.batch(1)
    await desk.batch(1, "other")


# ------------------------------------------------------------------ trouble


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


# ------------------------------------------------------------------ time, and the end of batches


async def test_an_expired_batch_keeps_what_is_done(desk: Desk) -> None:
    desk.endpoints.answer = lambda call, tries: (
        said(call) if len(desk.endpoints.calls) <= 8 else REFUSED
    )
    id_ = await desk.batch(20)

    async def some() -> bool:
        return (await desk.find(id_)).completed >= 5

    await until(some, "some are done")
    desk.now += DAY
    batch = await desk.ended(id_)
    assert (batch.status, batch.expired_at) == ("expired", int(desk.now))
    assert batch.completed + batch.failed == batch.total == 20
    errors = await desk.read(batch.error_file)
    assert {each["error"]["code"] for each in errors} == {"batch_expired"}
    assert {each["response"] is None for each in errors} == {True}
    output = await desk.read(batch.output_file)
    assert len(output) == batch.completed
    assert sorted(ids(output) + ids(errors)) == sorted(str(number) for number in range(20))
    assert desk.runner.feed.counts()["expired"] == batch.failed


async def test_a_batch_that_may_expire_hurries(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    id_ = await desk.batch(30)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    desk.runner.poke()
    await asyncio.sleep(0.05)
    assert desk.endpoints.raised == {}
    desk.now += DAY / 2  # and nothing is done
    desk.runner.poke()
    await true(lambda: len(desk.endpoints.raised) == 4, "the lines in flight rise")
    assert set(desk.endpoints.raised.values()) == {1.0}
    assert {call.name for call in desk.endpoints.calls} == desk.endpoints.raised.keys()
    desk.endpoints.gate.set()
    assert (await desk.ended(id_)).completed == 30
    assert {call.spare for call in desk.endpoints.calls[:4]} == {True}
    assert (desk.endpoints.calls[4].priority, desk.endpoints.calls[4].spare) == (1.0, False)


async def test_cancelled_lines_in_flight_may_end(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    cancelling = await desk.runner.rows.cancel("", id_, int(desk.now))
    assert (cancelling.status, cancelling.cancelling_at) == ("cancelling", int(desk.now))
    assert (await desk.runner.rows.cancel("", id_, int(desk.now))).status == "cancelling"
    desk.runner.poke()
    desk.endpoints.gate.set()
    batch = await desk.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("cancelled", 4, 16)
    errors = await desk.read(batch.error_file)
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}
    assert len(await desk.read(batch.output_file)) == 4
    assert len(desk.endpoints.calls) == 4
    assert (await desk.runner.rows.cancel("", id_, 0)).status == "cancelled"


async def test_lines_that_do_not_end_are_cut_off(desk: Desk) -> None:
    desk.endpoints.gate.clear()
    id_ = await desk.batch(20)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    await desk.runner.rows.cancel("", id_, int(desk.now))
    desk.now += GRACE_S
    batch = await desk.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("cancelled", 0, 20)
    await true(lambda: desk.endpoints.open == 0, "nothing runs")


async def test_cancelled_before_it_was_validated(desk: Desk) -> None:
    desk.keys.clear()
    id_ = await desk.batch(3)
    await desk.runner.rows.cancel("", id_, int(desk.now))
    batch = await desk.ended(id_)
    assert (batch.status, batch.total, batch.error_file) == ("cancelled", 0, None)


async def test_what_has_ended_can_t_be_cancelled(desk: Desk) -> None:
    id_ = await desk.batch(1)
    await desk.ended(id_)
    with pytest.raises(BatchEnded, match="completed"):
        await desk.runner.rows.cancel("", id_, int(desk.now))


async def test_batches_are_their_owner_s(desk: Desk) -> None:
    desk.keys["b"] = ApiKey("b", b"1")
    mine, other = await desk.batch(1), await desk.batch(1, "b")
    with pytest.raises(NotFound):
        await desk.find(other)
    with pytest.raises(NotFound):
        await desk.runner.rows.cancel("", other, 0)
    with pytest.raises(NotFound):
        await desk.runner.rows.page("", other, 10)
    assert [each.id for each in await desk.runner.rows.page("", None, 10)] == [mine]


async def test_pages(desk: Desk) -> None:
    made = [await desk.batch(1) for _ in range(5)]
    page = await desk.runner.rows.page("", None, 2)
    assert [each.id for each in page] == [made[4], made[3]]
    page = await desk.runner.rows.page("", made[3], 10)
    assert [each.id for each in page] == [made[2], made[1], made[0]]


async def test_old_batches_are_forgotten(desk: Desk) -> None:
    old = await desk.batch(1)
    await desk.ended(old)
    desk.now += 31 * DAY
    new = await desk.batch(1)
    await desk.again()
    await desk.ended(new)

    async def forgotten() -> bool:
        return [each.id for each in await desk.runner.rows.page("", None, 9)] == [new]

    await until(forgotten, "the old one is forgotten")


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
