"""Laws of the database's transactions."""

import asyncio

import pytest
from sqlalchemy import select, update

from gateway.core.errors import NotFound
from gateway.stored.store import Store
from gateway.stored.tables import batches, gateways
from tests.support.store_laws.one_store import OneStore, refusals
from tests.support.stored_files import put


class TransactionLaws(OneStore):
    """To be inherited."""

    async def test_an_error_undoes_a_transaction(self, store: Store) -> None:
        async def fail() -> None:
            async with store.database.begin() as connection:
                row = {"id": "g", "started_at": 1, "beat_at": 1}
                await connection.execute(gateways.insert().values(**row))
                raise NotFound("something else")

        with pytest.raises(NotFound):
            await fail()
        async with store.database.read() as connection:
            assert (await connection.execute(select(gateways))).all() == []

    async def test_writers_take_turns(self, store: Store) -> None:
        row = {"id": "g", "started_at": 0, "beat_at": 0}
        async with store.database.begin() as connection:
            await connection.execute(gateways.insert().values(**row))

        async def add() -> None:
            async with store.database.begin() as connection:
                more = update(gateways).values(beat_at=gateways.c.beat_at + 1)
                await connection.execute(more)

        async def look() -> None:
            async with store.database.read() as connection:
                await connection.execute(select(gateways))

        await asyncio.gather(*(each() for _ in range(40) for each in (add, look)))
        async with store.database.read() as connection:
            query = select(gateways.c.beat_at)
            assert (await connection.execute(query)).scalar_one() == 40

    async def test_a_cancelled_one_leaves_the_others_alone(self, store: Store) -> None:
        inside = asyncio.Event()

        async def hang() -> None:
            async with store.database.begin() as connection:
                row = {"id": "g", "started_at": 0, "beat_at": 0}
                await connection.execute(gateways.insert().values(**row))
                inside.set()
                await asyncio.Event().wait()

        for _ in range(12):  # more than there are connections
            task = asyncio.create_task(hang())
            await inside.wait()
            inside.clear()
            task.cancel()
            assert await refusals([task]) == [asyncio.CancelledError]
        await put(store, "a", b"hello")
        async with store.database.read() as connection:
            assert (await connection.execute(select(gateways))).all() == []
            assert (await connection.execute(select(batches))).all() == []
