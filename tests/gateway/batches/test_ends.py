"""Batches that expire or are cancelled, and what is told of batches that have ended."""

import asyncio

import pytest

from gateway.batches import batch_store
from gateway.batches.runner import GRACE_S
from gateway.core.api_key import ApiKey
from gateway.core.errors import BatchEnded, NotFound
from tests.gateway.batches.desk import DAY, REFUSED, Desk, ids, said, true, until

pytestmark = pytest.mark.anyio


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


async def test_the_oldest_of_too_many_are_forgotten(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rows count in no quota."""
    monkeypatch.setattr(batch_store, "MOST_KEPT", 3)
    desk.keys["b"] = ApiKey("b", b"1")
    other = await desk.batch(1, "b")
    made = []
    for _ in range(5):
        made.append(await desk.batch(1))
        await desk.ended(made[-1])
    page = await desk.runner.rows.page("", None, 10)
    assert [each.id for each in page] == [made[4], made[3], made[2]]
    assert [each.id for each in await desk.runner.rows.page("b", None, 10)] == [other]
    desk.endpoints.gate.clear()
    still = [await desk.batch(1) for _ in range(6)]
    page = await desk.runner.rows.page("", None, 10)
    assert [each.id for each in page] == still[::-1], "none that is open is forgotten"
