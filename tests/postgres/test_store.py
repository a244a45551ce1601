"""The laws of stores, for PostgreSQL; and what several servers on one database have to keep."""

import asyncio
import traceback
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gateway.core.errors import Unavailable
from gateway.stored.errors import StatementFailed, StoreUnreachable, StoreUnusable
from gateway.stored.store import Store
from gateway.stored.tables import gateways
from tests.support.postgres import PostgresServer, needs_postgres
from tests.support.store_laws import StoreLaws
from tests.support.stored_files import ROOM, SetClock, content, put

pytestmark = [pytest.mark.anyio, needs_postgres]


class PostgresPlace:
    """One database."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.url = server.database()
        self.clock = SetClock()

    def store(self, max_file: int = ROOM) -> Store:
        return Store(None, self.url, max_file, self.clock)


@pytest.fixture
def place(postgres: PostgresServer) -> PostgresPlace:
    return PostgresPlace(postgres)


class TestPostgres(StoreLaws):
    pass


async def test_several_servers_share_it(place: PostgresPlace) -> None:
    """Started together on an empty database, one makes the tables."""
    stores = [place.store() for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    file = await put(stores[0], "a", bytes(3_000_000))
    assert await content(stores[3], file.blob) == bytes(3_000_000)
    await stores[2].files.delete("a", file.id)
    assert await stores[1].files.list("a") == ([], False)
    for store in stores:
        await store.close()


@pytest.mark.parametrize(
    "values", [{"beat_at": None}, {"beat_at": "my secret"}, {"beat_at": 2**70}, {"started_at": 0}]
)
async def test_an_error_that_is_a_bug_tells_no_values(
    place: PostgresPlace, values: dict[str, Any]
) -> None:
    """PostgreSQL's own text has the row, or the key, and asyncpg's the argument."""
    store = place.store()
    await store.open()
    row = {"id": "my secret", "started_at": 1, "beat_at": 1}

    async def twice() -> None:
        async with store.database.begin() as connection:
            await connection.execute(insert(gateways).values(**row | values))
            await connection.execute(insert(gateways).values(**row))

    with pytest.raises(StatementFailed) as raised:
        await twice()
    told = "".join(traceback.format_exception(raised.value))
    assert "INSERT INTO gateways" in told
    assert "my secret" not in told
    await store.close()


async def test_the_folder_is_not_used(place: PostgresPlace, tmp_path: Path) -> None:
    store = Store(tmp_path / "data", place.url, ROOM, place.clock)
    await store.open()
    await put(store, "a", b"hello")
    await store.close()
    assert not (tmp_path / "data").exists()


async def test_a_server_that_starts_leaves_what_another_is_writing(place: PostgresPlace) -> None:
    first = place.store()
    await first.open()
    incoming = await first.files.receive("a", ROOM)
    await incoming.write(bytes(2_000_000))
    second = place.store()
    await second.open()
    await incoming.write(bytes(1_000_000))
    blob = await incoming.commit()
    third = place.store()
    await third.open()
    file = await first.files.keep("a", blob, "batch", "a")
    assert await content(third, file.blob) == bytes(3_000_000)
    for store in (first, second, third):
        await store.close()


async def test_a_database_that_dies_comes_back(
    place: PostgresPlace, postgres: PostgresServer
) -> None:
    store = place.store()
    await store.open()
    file = await put(store, "a", b"hello")
    postgres.kill()
    try:
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                await store.files.get("a", file.id)
            assert caught.value.retry_after
        with pytest.raises(StoreUnreachable):
            await place.store().open()
    finally:
        postgres.start()
    assert await store.files.get("a", file.id) == file
    assert await content(store, file.blob) == b"hello"
    await store.close()


async def test_what_is_wrong_is_told_in_a_line(place: PostgresPlace) -> None:
    secret = "hunter2-very-secret"
    urls = [
        place.url.replace("/forge", "/nothing", 1),
        f"postgresql://forge:{secret}@127.0.0.1:1/forge",
        f"postgresql://forge:{secret}@/forge?host=/nowhere",
        f"postgresql://forge:{secret}@/forge?sslmode=nonsense",
        "postgresql://forge@[::1/forge",
    ]
    for url in urls:
        store = Store(None, url, ROOM, place.clock)
        with pytest.raises(StoreUnusable, match=r"^[^\n]+$") as caught:
            await store.open()
        assert secret not in str(caught.value)


async def test_a_newer_schema_is_an_error(place: PostgresPlace, postgres: PostgresServer) -> None:
    store = place.store()
    await store.open()
    await store.close()
    postgres.query(place.url, "UPDATE schema SET version = 99")
    with pytest.raises(StoreUnusable, match="newer Forge"):
        await place.store().open()
