"""SQLite as it is set up; migrations; a disk that is full."""

import sqlite3
import traceback
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, text

from gateway.core.errors import StorageFull, Unavailable
from gateway.stored.database import Database
from gateway.stored.errors import StatementFailed, StoreUnusable
from gateway.stored.migrations import MIGRATIONS
from gateway.stored.tables import METADATA, batches, captures, gateways, schema

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a ?#%.db")


@pytest.fixture
async def database(path: str) -> AsyncIterator[Database]:
    database = Database(path, ())  # of version 1: what is new comes in the tests
    await database.open()
    yield database
    await database.close()


async def test_a_commit_is_on_the_disk(database: Database) -> None:
    async with database.begin() as connection:
        for name, value in [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]:
            assert (await connection.execute(text(f"PRAGMA {name}"))).scalar_one() == value


async def test_deleted_texts_are_gone_from_the_file(database: Database, path: str) -> None:
    """SQLite would only call their pages free, unless its builder thought of that, as Debian's."""
    secret = "the secret of the fox " * 50
    async with database.begin() as connection:
        await connection.execute(text("CREATE TABLE notes (body TEXT)"))
        await connection.execute(text("INSERT INTO notes VALUES (:body)"), {"body": secret})
        await connection.execute(text("INSERT INTO notes VALUES ('stays')"))
    assert secret.encode() in content(path)
    async with database.begin() as connection:
        await connection.execute(text("DELETE FROM notes WHERE body <> 'stays'"))
    left = content(path)
    assert b"stays" in left
    assert b"secret of the fox" not in left


def content(path: str) -> bytes:
    """Return the bytes of a database's file, with those of its log in their places."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Path(path).read_bytes()


async def test_readers_see_one_state_while_others_write(database: Database) -> None:
    async with database.read() as reader:
        assert (await reader.execute(select(gateways))).all() == []
        async with database.begin() as writer:
            row = {"id": "g", "started_at": 1, "beat_at": 1}
            await writer.execute(gateways.insert().values(**row))
        assert (await reader.execute(select(gateways))).all() == []
    async with database.read() as reader:
        assert len((await reader.execute(select(gateways))).all()) == 1


async def test_a_full_disk_is_told_and_harms_nothing(database: Database) -> None:
    row = {"id": "g", "started_at": 1, "beat_at": 1}
    async with database.begin() as connection:
        await connection.execute(gateways.insert().values(**row))
        pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
        await connection.execute(text(f"PRAGMA max_page_count = {pages}"))
    many = [{**row, "id": f"{at}{'x' * 40}"} for at in range(5000)]

    async def add() -> None:
        async with database.begin() as connection:
            await connection.execute(gateways.insert(), many)

    with pytest.raises(StorageFull):
        await add()
    async with database.read() as connection:
        await connection.execute(text("PRAGMA max_page_count = 1000000"))
    await add()
    async with database.read() as connection:
        assert len((await connection.execute(select(gateways))).all()) == 5001


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO gateways VALUES (:id, NULL, :prompt)",
        "INSERT INTO nowhere VALUES (:id, :prompt)",
    ],
)
async def test_an_error_that_is_a_bug_tells_no_values(database: Database, statement: str) -> None:
    """They are what clients wrote; the statement and the driver's word for it are for the log."""
    values = {"id": "g", "prompt": "my secret"}
    with pytest.raises(StatementFailed) as raised:
        await executed(database, text(statement), values)
    told = "".join(traceback.format_exception(raised.value))
    assert "my secret" not in told
    assert statement[:20] in told
    assert raised.value.kind.startswith(("SQLITE_CONSTRAINT", "SQLITE_ERROR"))
    assert "in executed" in told, "the place is told, too"


async def test_a_value_that_no_driver_takes_is_not_told(database: Database) -> None:
    values = {"id": "g", "started_at": ["my secret"], "beat_at": 1}
    with pytest.raises(StatementFailed) as raised:
        await executed(database, gateways.insert(), values)
    assert "my secret" not in "".join(traceback.format_exception(raised.value))


async def executed(database: Database, statement: Any, values: Any) -> None:
    async with database.begin() as connection:
        await connection.execute(statement, values)


async def test_closed_it_says_so(path: str) -> None:
    database = Database(path)
    for _ in range(2):
        with pytest.raises(Unavailable):
            async with database.begin():
                pass
        await database.open()
        await database.close()


def add_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE gateways ADD COLUMN colour TEXT DEFAULT 'red'"))


def rename_it(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE gateways RENAME COLUMN colour TO hue"))


def fail(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE gateways ADD COLUMN extra TEXT"))
    raise ZeroDivisionError


def version(path: str) -> int:
    with sqlite3.connect(path) as connection:
        found: int = connection.execute("SELECT version FROM schema").fetchone()[0]
    connection.close()
    return found


async def test_an_older_schema_is_brought_up_to_date(database: Database, path: str) -> None:
    async with database.begin() as connection:
        row = {"id": "g", "started_at": 1, "beat_at": 1}
        await connection.execute(gateways.insert().values(**row))
    await database.close()
    for steps in ([add_column], [add_column, rename_it], [add_column, rename_it]):
        newer = Database(path, steps)
        await newer.open()
        await newer.close()
        assert version(path) == len(steps) + 1
    with sqlite3.connect(path) as plain:
        assert plain.execute("SELECT hue FROM gateways").fetchall() == [("red",)]
    plain.close()


async def test_all_steps_are_one_transaction(database: Database, path: str) -> None:
    await database.close()
    with pytest.raises(ZeroDivisionError):
        await Database(path, [add_column, fail]).open()
    assert version(path) == 1
    again = Database(path, [add_column])
    await again.open()
    await again.close()
    assert version(path) == 2


async def test_a_newer_schema_is_an_error(database: Database, path: str) -> None:
    await database.close()
    newer = Database(path, [add_column])
    await newer.open()
    await newer.close()
    with pytest.raises(StoreUnusable, match="a newer Forge made the database: its schema is 2"):
        await Database(path, ()).open()


async def test_the_first_release_with_captures_adds_their_table(path: str) -> None:
    """A database of version 1 had all tables but that one."""
    first = Database(path, ())
    await first.open()
    async with first.begin() as connection:
        await connection.execute(text("DROP TABLE captures"))
        await connection.execute(gateways.insert().values(id="g", started_at=1, beat_at=1))
    await first.close()
    now = Database(path)
    await now.open()
    async with now.read() as connection:
        assert (await connection.execute(select(captures))).all() == []
        assert len((await connection.execute(select(gateways))).all()) == 1
    await now.close()
    assert version(path) == len(MIGRATIONS) + 1


async def test_the_first_release_becomes_this_one(path: str) -> None:
    newest = Database(path)
    await newest.open()
    await newest.close()
    made = tables(path)
    for each in ("captures", "keys", "revisions", "usage_hours", "usage_spent", "usage_writers"):
        with sqlite3.connect(path) as connection:
            connection.execute(f"DROP TABLE {each}")
            connection.execute("UPDATE schema SET version = 1")
        connection.close()
    assert tables(path) != made
    again = Database(path)
    await again.open()
    await again.close()
    assert tables(path) == made
    assert version(path) == len(MIGRATIONS) + 1


async def test_batches_of_an_older_release_have_no_origin(path: str) -> None:
    newest = Database(path)
    await newest.open()
    await newest.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE batches DROP COLUMN origin")
        connection.execute("UPDATE schema SET version = 3")
        connection.commit()
    again = Database(path)
    await again.open()
    async with again.read() as run:
        assert (await run.execute(select(batches.c.origin))).all() == []
    await again.close()
    assert version(path) == len(MIGRATIONS) + 1


def tables(path: str) -> set[tuple[str, ...]]:
    """Return the statements that made all tables and indexes."""
    with closing(sqlite3.connect(path)) as connection:
        return {*connection.execute("SELECT name, sql FROM sqlite_schema")}


def test_every_reference_to_a_blob_is_named_so() -> None:
    """The sweep of orphans finds them by the name of the column."""
    named = {table.name for table in METADATA.tables.values() if "blob" in table.c}
    assert named == {"blob_chunks", "files", "upload_parts"}
    assert schema.name == "schema"
