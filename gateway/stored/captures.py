"""Captures: requests with their answers, the newest of each key, bounded in number, bytes and age.

Where there are too many, the key with the most loses its oldest first: one that asks for a lot
can't push out what was captured of another. An example with room for ten: keys A and B have five
each, and a sixth of A comes. A has the most, so that the oldest of A goes, and B keeps its five.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.errors import NotFound
from gateway.stored.database import Database
from gateway.stored.ids import may_be_id
from gateway.stored.incoming import Clock
from gateway.stored.tables import captures

AT_ONCE = 200
"""Rows that one statement deletes."""
OVERHEAD = 1024
"""Bytes that a capture costs beside its bodies."""


@dataclass(frozen=True, slots=True)
class CaptureBounds:
    """All captures together; ``age`` in seconds."""

    number: int
    bytes: int
    age: float


@dataclass(frozen=True, slots=True)
class StoredCapture:
    """One row. In a list the bodies are empty."""

    id: str
    owner: str
    model: str
    status: int
    """Of HTTP; 0: the client was gone before there was one."""
    outcome: str
    created_at: int
    facts: bytes
    """JSON."""
    request: bytes = b""
    answer: bytes = b""
    seq: int = 0

    @property
    def size(self) -> int:
        """Return the bytes for which it counts."""
        return OVERHEAD + len(self.facts) + len(self.request) + len(self.answer)


@dataclass(frozen=True, slots=True)
class CaptureFilter:
    """The captures of a list; None: all."""

    key: str | None = None
    model: str | None = None
    statuses: tuple[int, int] | None = None
    """The first and the last."""
    outcome: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a row."""
        found: list[ColumnElement[bool]] = []
        if self.key is not None:
            found.append(captures.c.owner == self.key)
        if self.model is not None:
            found.append(captures.c.model == self.model.encode("utf-8", "replace"))
        if self.statuses is not None:
            found.append(captures.c.status.between(*self.statuses))
        if self.outcome is not None:
            found.append(captures.c.outcome == self.outcome)
        return found


HEAD = tuple(each for each in captures.c if each.name not in ("request", "answer", "size"))
WHOLE = tuple(each for each in captures.c if each.name != "size")


class StoredCaptures:
    """All captures of a store."""

    def __init__(self, database: Database, clock: Clock, bounds: CaptureBounds) -> None:
        self._database, self._clock, self._bounds = database, clock, bounds

    async def insert(self, rows: Sequence[StoredCapture]) -> None:
        """Add some, and delete those that are too many then.

        Raises StorageFull or Unavailable, or StatementFailed if the database is locked.
        """
        values = [
            {
                "id": row.id,
                "owner": row.owner,
                "model": row.model.encode("utf-8", "replace"),
                "status": row.status,
                "outcome": row.outcome,
                "created_at": row.created_at,
                "size": row.size,
                "facts": row.facts,
                "request": row.request,
                "answer": row.answer,
            }
            for row in rows
        ]
        async with self._database.begin() as run:
            await run.execute(insert(captures), values)
            await self._shrink(run)

    async def page(
        self, wanted: CaptureFilter, after: str | None, limit: int
    ) -> tuple[list[StoredCapture], bool]:
        """Return the newest without their bodies, and whether there are more behind them.

        ``after``: the id of the one before them. Raises NotFound if there is none of that id.
        """
        query = select(*HEAD).where(self._alive(), *wanted.conditions())
        query = query.order_by(captures.c.seq.desc()).limit(limit + 1)
        async with self._database.read() as run:
            if after is not None:
                last = (await self._find(run, after, "after", HEAD)).seq
                query = query.where(captures.c.seq < last)
            rows = [_row(each) for each in (await run.execute(query)).all()]
        return rows[:limit], len(rows) > limit

    async def get(self, id_: str) -> StoredCapture:
        """Return one with its bodies. Raises NotFound."""
        async with self._database.read() as run:
            return await self._find(run, id_, "capture_id", WHOLE)

    async def delete(self, id_: str) -> None:
        """Raises NotFound."""
        async with self._database.begin() as run:
            found = await self._find(run, id_, "capture_id", HEAD)
            await run.execute(delete(captures).where(captures.c.seq == found.seq))

    async def delete_all(self, wanted: CaptureFilter) -> int:
        """Delete all that meet the filter; return how many there were."""
        async with self._database.begin() as run:
            return (await run.execute(delete(captures).where(*wanted.conditions()))).rowcount

    async def sweep(self) -> None:
        """Delete what is too old, and what is too much by bounds that have changed."""
        async with self._database.begin() as run:
            await run.execute(delete(captures).where(~self._alive()))
            await self._shrink(run)

    def _alive(self) -> ColumnElement[bool]:
        return captures.c.created_at > int(self._clock() - self._bounds.age)

    async def _find(
        self, run: AsyncConnection, id_: str, param: str, columns: Iterable[Any]
    ) -> StoredCapture:
        query = select(*columns).where(captures.c.id == id_, self._alive())
        row = (await run.execute(query)).one_or_none() if may_be_id(id_) else None
        if row is None:
            raise NotFound(f"there is no capture '{id_[:64]}'", param=param)
        return _row(row)

    async def _shrink(self, run: AsyncConnection) -> None:
        """Delete the oldest of the key with the most, until the bounds are kept."""
        if self._database.postgres:  # of several gateways one at a time counts and deletes
            await run.execute(text("SELECT pg_advisory_xact_lock(hashtext('forge captures'))"))
        of_key = select(captures.c.owner, func.count(), func.sum(captures.c.size))
        while True:
            rows = (await run.execute(of_key.group_by(captures.c.owner))).all()
            held = {owner: (int(number), int(size)) for owner, number, size in rows}
            totals = [sum(each[kind] for each in held.values()) for kind in (0, 1)]
            bounds = (self._bounds.number, self._bounds.bytes)
            kind = next((each for each in (0, 1) if totals[each] > bounds[each]), None)
            if kind is None:
                return
            first, *others = sorted(held, key=lambda owner: held[owner][kind], reverse=True)
            ahead = held[first][kind] - (held[others[0]][kind] if others else 0) + 1
            await self._evict(run, first, kind, min(totals[kind] - bounds[kind], ahead))

    async def _evict(self, run: AsyncConnection, owner: str, kind: int, enough: int) -> None:
        """Delete an owner's oldest, until so many, or so many bytes, are gone."""
        oldest = select(captures.c.seq, captures.c.size).where(captures.c.owner == owner)
        gone, freed = list[int](), 0
        for seq, size in (await run.execute(oldest.order_by(captures.c.seq).limit(AT_ONCE))).all():
            if freed >= enough:
                break
            gone.append(seq)
            freed += size if kind else 1
        await run.execute(delete(captures).where(captures.c.seq.in_(gone)))


def _row(row: Row[Any]) -> StoredCapture:
    fields = dict(row._mapping)
    return StoredCapture(**{**fields, "model": fields["model"].decode()})
