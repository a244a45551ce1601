"""The laws of archives, for PostgreSQL; and servers that write at the same time."""

import asyncio
import contextlib
import functools

import pytest
from sqlalchemy import func, select

from gateway.core.errors import NotFound
from gateway.stored.tables import object_owners, objects
from tests.support.archive_laws import ArchiveLaws, Open, item
from tests.support.archives import opened, response
from tests.support.database_archive_laws import DatabaseArchiveLaws, house
from tests.support.postgres import PostgresServer, needs_postgres

pytestmark = [pytest.mark.anyio, needs_postgres]


@pytest.fixture
def place(postgres: PostgresServer) -> str:
    return postgres.database()


class TestPostgres(ArchiveLaws):
    @pytest.fixture
    def archives(self, place: str) -> Open:
        return functools.partial(opened, place)


class TestPostgresAlone(DatabaseArchiveLaws):
    pass


async def test_servers_that_write_at_once_count_right(place: str) -> None:
    """They add to the same conversations, follow the same responses, and evict each other's."""
    async with house(place, room=150_000) as at:
        servers = [await at.archive(alone=False) for _ in range(3)]
        begun = [(await servers[0].begin(f"o{n}", [], {}, 0))["id"] for n in range(2)]
        await servers[0].keep("o0", response("resp_first", [item("x", 500)]))
        link = (await servers[0].earlier("o0", "resp_first")).link

        async def write(who: int, step: int) -> None:
            server, owner = servers[who % 3], f"o{step % 2}"
            name = f"{who}-{step}"
            with contextlib.suppress(NotFound):  # it may have been evicted
                await server.add(owner, begun[step % 2], [item(name, 100)])
            after = link if owner == "o0" else None
            await server.keep(owner, response(f"resp_{name}", [item(name, 2000)], after=after))
            await server.look_after(sweep=step == 5)

        works = [write(who, step) for who in range(8) for step in range(10)]
        ends = await asyncio.gather(*works, return_exceptions=True)
        assert [each for each in ends if each is not None] == []
        async with at.database.read() as run:
            totals = {row.owner: row.bytes for row in await run.execute(select(object_owners))}
            sizes = select(objects.c.owner, func.sum(objects.c.size).label("size"))
            real = {r.owner: int(r.size) for r in await run.execute(sizes.group_by("owner"))}
        assert totals == real
        assert sum(totals.values()) <= 150_000
        for server in servers:
            await server.stop()
