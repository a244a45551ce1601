"""Batches of several gateways on one PostgreSQL: each line is one gateway's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.batches import batch_store, membership, runner
from gateway.core.errors import QueueFull
from tests.gateway.batches.desk import Call, Desk, true, until
from tests.support.postgres import PostgresServer, needs_postgres

pytestmark = [pytest.mark.anyio, needs_postgres]


@pytest.fixture
async def desks(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Desk, Desk]]:
    """Two gateways whose hearts beat fast."""
    monkeypatch.setattr(runner, "BEAT_S", 0.1)
    monkeypatch.setattr(membership, "DEAD_S", 3)
    url = postgres.database()
    first, second = Desk(None, url), Desk(None, url)
    for desk in (first, second):
        await desk.start()
    yield first, second
    for desk in (first, second):
        await desk.stop()


def prompts(*desks: Desk) -> Counter[str]:
    """Count the requests of each line."""
    calls: list[Call] = [call for desk in desks for call in desk.endpoints.calls]
    return Counter(call.body["prompt"] for call in calls)


async def test_each_line_is_taken_by_one_of_them(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for desk in desks:
        desk.endpoints.gate.clear()
    id_ = await first.batch(60)
    await true(lambda: first.endpoints.open == second.endpoints.open == 4, "both work")
    for desk in desks:
        desk.endpoints.gate.set()
    batch = await second.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 60, 0)
    assert prompts(*desks) == {str(number): 1 for number in range(60)}
    assert batch.tokens.input == 60 * 7
    results = await second.read(batch.output_file)
    assert [each["custom_id"] for each in results] == [str(number) for number in range(60)]


async def test_a_key_s_bounds_hold_for_both_together(
    desks: tuple[Desk, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_store, "MOST_OPEN", 3)
    for desk in desks:
        desk.endpoints.gate.clear()
    made = await asyncio.gather(
        *(desk.batch(1) for _ in range(6) for desk in desks), return_exceptions=True
    )
    assert Counter(type(each) for each in made) == {str: 3, QueueFull: 9}
    for desk in desks:
        desk.endpoints.gate.set()
    for each in made:
        if isinstance(each, str):
            assert (await desks[0].ended(each)).completed == 1


async def test_one_dies_and_the_other_goes_on(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    first.endpoints.gate.clear()
    id_ = await first.batch(40)
    await true(lambda: first.endpoints.open == 4, "the first has lines")
    await first.die()
    batch = await second.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 40, 0)
    asked = prompts(*desks)
    assert len(asked) == 40
    assert asked.total() == 44  # twice those that were in flight
    results = await second.read(batch.output_file)
    assert [each["custom_id"] for each in results] == [str(number) for number in range(40)]


async def test_one_that_was_taken_for_dead_begins_anew(desks: tuple[Desk, Desk]) -> None:
    """Its results for lines that are another's by now count no more."""
    first, second = desks
    first.endpoints.gate.clear()
    id_ = await first.batch(40)
    await true(lambda: first.endpoints.open == 4, "the first has lines")
    old = first.runner._gateway
    async with second.store.database.begin() as connection:
        await membership._bury(connection, [old])
    await true(lambda: first.runner._gateway != old, "it begins anew")
    first.endpoints.gate.set()
    batch = await second.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 40, 0)
    assert len(prompts(*desks)) == 40


async def test_a_dead_one_takes_nothing(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    await first.die()
    async with second.store.database.begin() as connection:
        await membership._bury(connection, [first.runner._gateway])
    second.endpoints.gate.clear()
    id_ = await second.batch(10)
    await true(lambda: second.endpoints.open == 4, "the second works")
    found = await first.runner._lines.exchange([], [], {id_: 3})
    assert found.taken == []
    assert not await first.runner.rows.adopt(id_, first.runner._gateway, sealed=False)
    second.endpoints.gate.set()
    assert (await second.ended(id_)).completed == 10


async def test_validating_is_taken_over(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    await first.runner.stop()
    await second.runner.stop()
    id_ = await first.batch(10)
    await first.runner._membership.join()
    assert await first.runner.rows.adopt(id_, first.runner._gateway, sealed=False)  # and dies
    second.runner.start()
    batch = await second.ended(id_)
    assert (batch.status, batch.completed) == ("completed", 10)


async def test_a_cancel_reaches_the_other_gateway(desks: tuple[Desk, Desk]) -> None:
    first, second = desks
    for desk in desks:
        desk.endpoints.gate.clear()
    id_ = await first.batch(40)
    await true(lambda: first.endpoints.open == second.endpoints.open == 4, "both work")
    await first.runner.rows.cancel("", id_, int(first.now))
    for desk in desks:
        desk.endpoints.gate.set()

    async def ended() -> bool:
        return (await first.find(id_)).ended

    await until(ended, "it ends")
    batch = await first.find(id_)
    assert batch.status == "cancelled"
    assert batch.completed + batch.failed == 40
    done = 0 if batch.output_file is None else len(await first.read(batch.output_file))
    assert (done, len(await first.read(batch.error_file))) == (batch.completed, batch.failed)


async def test_the_database_comes_back(postgres: PostgresServer) -> None:
    """PostgreSQL itself is killed while lines run; each has one result."""
    desk = Desk(None, postgres.database())
    await desk.start()
    desk.endpoints.gate.clear()
    id_ = await desk.batch(40)
    await true(lambda: desk.endpoints.open == 4, "it runs")
    postgres.kill()
    desk.endpoints.gate.set()
    await true(lambda: desk.runner.feed.flights.landed == 4, "results wait")
    await asyncio.sleep(0.1)
    postgres.start()

    async def ended() -> bool:
        desk.runner.poke()
        return desk.runner.feed.counts()["completed"] == 40

    await until(ended, "all lines are done")
    batch = await desk.ended(id_)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 40, 0)
    results = await desk.read(batch.output_file)
    assert [each["custom_id"] for each in results] == [str(number) for number in range(40)]
    await desk.stop()
