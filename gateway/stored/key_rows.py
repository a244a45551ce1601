"""API keys in the database, and the number by which other gateways see that they changed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.errors import KeyExists, KeyLeftovers, NotFound, QuotaExceeded
from gateway.stored.database import Database
from gateway.stored.incoming import Clock
from gateway.stored.tables import batches, files, keys, objects, revisions, uploads
from gateway.stored.upsert import insert_or_update

TOPIC = "keys"
MOST = 1000
"""Keys: each request is compared with all."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is stored."""

    name: str
    digest: bytes
    rights: bytes
    """JSON."""
    created_at: int
    changed_at: int


class KeySet(NamedTuple):
    """All keys, as they are together."""

    revision: int
    """A number that grows with each change; 0: there was never a key."""
    rows: Sequence[KeyRow]
    """In the order of their names."""


Check = Callable[[Sequence[KeyRow]], None]
"""Raises an error for keys that must not be all there is."""


class KeyRows:
    """All keys of a store."""

    def __init__(self, database: Database, clock: Clock, *, beside: bool = False) -> None:
        """``beside``: the database is another server's, which may be of an older release."""
        self._database, self._clock, self._beside = database, clock, beside

    async def revision(self) -> int:
        """Return the number of changes so far."""
        async with self._database.read() as run:
            if self._beside and not await run.run_sync(_has_keys):
                return 0
            return await _revision(run)

    async def all(self) -> KeySet:
        """Return all keys."""
        async with self._database.read() as run:
            if self._beside and not await run.run_sync(_has_keys):
                return KeySet(0, [])
            return await _all(run)

    async def add(self, name: str, digest: bytes, rights: bytes, *, adopt: bool = False) -> KeySet:
        """Add a key, and return all. Raises KeyExists, KeyLeftovers or QuotaExceeded.

        ``adopt``: what an earlier key of this name has left becomes this one's.
        """
        now = int(self._clock())
        async with self._database.begin() as run:
            await _count_change(run)
            there = (await _all(run)).rows
            if any(each.name == name for each in there):
                raise KeyExists(f"there is a key '{name}'", param="name")
            if len(there) >= MOST:
                raise QuotaExceeded(f"the store has {MOST} keys, and takes no more")
            if not adopt and (left := await _leftovers(run, name)):
                raise KeyLeftovers(
                    f"an earlier key '{name}' has left {left}, and a new one would have them: say "
                    "'adopt' (forge keys add --adopt) if it is for the same user, else take "
                    "another name",
                    param="name",
                )
            new = KeyRow(name, digest, rights, now, now)
            await run.execute(insert(keys).values(**asdict(new)))
            return await _all(run)

    async def change(self, name: str, check: Check, **values: bytes) -> KeySet:
        """Give a key other ``rights`` or another ``digest``, and return all.

        Raises NotFound, or as ``check``.
        """
        async with self._database.begin() as run:
            await _count_change(run)
            new = {**values, "changed_at": int(self._clock())}
            changed = update(keys).where(keys.c.name == name).values(new)
            return await _changed(run, name, (await run.execute(changed)).rowcount, check)

    async def remove(self, name: str, check: Check) -> KeySet:
        """Take a key away, and return the others. Raises NotFound, or as ``check``."""
        async with self._database.begin() as run:
            await _count_change(run)
            gone = delete(keys).where(keys.c.name == name)
            return await _changed(run, name, (await run.execute(gone)).rowcount, check)


LEFT = (
    ("file", "files", files),
    ("upload", "uploads", uploads),
    ("batch", "batches", batches),
    ("response", "responses", objects),
)
"""Tables of what a key owns by its name; usage is no secret of its user."""


async def _leftovers(run: AsyncConnection, name: str) -> str:
    """Return what a key of this name owns, in words; "": nothing."""
    found = []
    for one, several, table in LEFT:
        mine = select(func.count()).select_from(table).where(table.c.owner == name)
        if number := await run.scalar(mine):
            found.append(f"{number} {one if number == 1 else several}")
    return ", ".join(found)


def _has_keys(connection: Connection) -> bool:
    return inspect(connection).has_table(keys.name)


async def _revision(run: AsyncConnection) -> int:
    found = select(revisions.c.number).where(revisions.c.topic == TOPIC)
    return await run.scalar(found) or 0


async def _count_change(run: AsyncConnection) -> None:
    """Count a change, first of all: on PostgreSQL other changes wait here until it is there."""
    made = insert_or_update(run, revisions).values(topic=TOPIC, number=1)
    more = {"number": revisions.c.number + 1}
    await run.execute(made.on_conflict_do_update(index_elements=["topic"], set_=more))


async def _all(run: AsyncConnection) -> KeySet:
    number = await _revision(run)
    rows = (await run.execute(select(keys).order_by(keys.c.name))).all()
    return KeySet(number, [KeyRow(**row._mapping) for row in rows])


async def _changed(run: AsyncConnection, name: str, number: int, check: Check) -> KeySet:
    """Return all keys after ``number`` were changed. Raises NotFound, or as ``check``."""
    if not number:
        raise NotFound(f"the store has no key '{name}'", param="name")
    found = await _all(run)
    check(found.rows)
    return found
