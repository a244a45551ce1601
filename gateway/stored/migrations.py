"""From any older schema to this one, in one transaction.

An empty database is made as :mod:`gateway.stored.tables` has it. A release that changes a table
adds a function to :data:`MIGRATIONS`, which does the same to a database of the release before.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, insert, inspect, select, text, update

from gateway.stored.errors import StoreUnusable
from gateway.stored.tables import (
    METADATA,
    batches,
    captures,
    keys,
    revisions,
    schema,
    usage_hours,
    usage_spent,
    usage_writers,
)

Migration = Callable[[Connection], None]


def _add_captures(connection: Connection) -> None:
    captures.create(connection, checkfirst=True)


def _add_keys_and_usage(connection: Connection) -> None:
    METADATA.create_all(
        connection, tables=[keys, revisions, usage_hours, usage_spent, usage_writers]
    )


def _add_origin(connection: Connection) -> None:
    if "origin" not in {each["name"] for each in inspect(connection).get_columns(batches.name)}:
        connection.execute(text("ALTER TABLE batches ADD COLUMN origin VARCHAR(64)"))


MIGRATIONS: Sequence[Migration] = (_add_captures, _add_keys_and_usage, _add_origin)
"""The first makes version 2 of version 1, and so on."""


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema up to date. Raises :class:`StoreUnusable` if a newer Forge made it."""
    newest = len(migrations) + 1
    if not inspect(connection).has_table(schema.name):
        METADATA.create_all(connection)
        connection.execute(insert(schema).values(version=newest))
        return
    version = connection.execute(select(schema.c.version)).scalar_one()
    if version > newest:
        raise StoreUnusable(
            f"a newer Forge made the database: its schema is {version}, this one knows {newest}"
        )
    for step in migrations[version - 1 :]:
        step(connection)
    connection.execute(update(schema).values(version=newest))
