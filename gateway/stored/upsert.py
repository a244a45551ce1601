"""The one statement that SQLAlchemy writes for each database by another function."""

from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def insert_or_update(run: AsyncConnection, table: Table) -> Any:
    """Return an INSERT that may say ON CONFLICT."""
    made = postgresql.insert if run.dialect.name == "postgresql" else sqlite.insert
    return made(table)
