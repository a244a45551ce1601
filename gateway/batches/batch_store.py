"""Batches in the store: made, told, moved from state to state.

A step that only one gateway may take is an UPDATE with a condition, and counts if a row met it. The
work of minutes, validating and finalizing, is done by the gateway named in the row: another one may
take it over when that is dead.
"""

from typing import Any

import orjson
from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.batches.answers import TokenCounts
from gateway.batches.membership import alive
from gateway.batches.record import ENDED, BatchRecord, Ending, NewBatch
from gateway.batches.validation import BatchProblem
from gateway.core.errors import BatchEnded, NotFound, QueueFull
from gateway.stored.database import Database
from gateway.stored.ids import may_be_id
from gateway.stored.quota import check, used
from gateway.stored.tables import batches, lines

MOST_OPEN = 64
"""Batches of a key that have not ended: each may have its input once more on the disk."""
MOST_KEPT = 5000
"""Batches of a key that are remembered; some have long lists of errors."""
OPEN = batches.c.status.not_in(ENDED)


class BatchStore:
    """The rows of batches."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # ------------------------------------------------------------------ for clients

    async def create(self, new: NewBatch) -> BatchRecord:
        """Add a batch that is to be validated.

        Raises QueueFull if its owner has too many, or QuotaExceeded if it keeps too much already,
        results of its open batches included: output is stored whatever its size, so that no work
        is lost, but not without end.
        """
        values = {
            "id": new.id,
            "owner": new.owner,
            "endpoint": new.endpoint,
            "completion_window": new.completion_window,
            "status": "validating",
            "priority": new.priority,
            "input_file": new.input_file,
            "output_age": new.output_age,
            "metadata": None if new.metadata is None else orjson.dumps(new.metadata),
            "created_at": new.created_at,
            "expires_at": new.expires_at,
            "origin": new.origin or None,
            **dict.fromkeys(("total", "completed", "failed"), 0),
            **{f"{name}_tokens": 0 for name in TokenCounts._fields},
        }
        async with self.database.begin() as connection:
            kept = await used(connection, new.owner)  # this also lets owners take turns
            check(kept + await _results(connection, new.owner), new.room)
            mine = select(func.count()).where(batches.c.owner == new.owner, OPEN)
            if (await connection.execute(mine)).scalar_one() >= MOST_OPEN:
                message = f"{MOST_OPEN} batches of this key have not ended, the most there may be"
                raise QueueFull(message, retry_after=60)
            await self._forget_oldest(connection, new.owner)
            await connection.execute(insert(batches).values(values))
            return await _one(connection, new.owner, new.id)

    async def _forget_oldest(self, connection: AsyncConnection, owner: str) -> None:
        """Delete what has ended beyond the newest of an owner: rows count in no quota."""
        mine = select(batches.c.seq).where(batches.c.owner == owner)
        last = mine.order_by(batches.c.seq.desc()).offset(MOST_KEPT - 1).limit(1)
        beyond = batches.c.seq <= last.scalar_subquery()
        old = delete(batches).where(batches.c.owner == owner, beyond, batches.c.status.in_(ENDED))
        await connection.execute(old)

    async def find(self, owner: str, id_: str) -> BatchRecord:
        """Return one of an owner's batches. Raises NotFound."""
        async with self.database.read() as connection:
            return await _one(connection, owner, id_)

    async def page(self, owner: str, after: str | None, limit: int) -> list[BatchRecord]:
        """Return an owner's batches, the newest first, from the one after ``after`` on.

        Raises NotFound if there is no such batch.
        """
        wanted = select(batches).where(batches.c.owner == owner)
        async with self.database.read() as connection:
            if after is not None:
                last = await _one(connection, owner, after)
                wanted = wanted.where(batches.c.seq < last.seq)
            wanted = wanted.order_by(batches.c.seq.desc()).limit(limit)
            return [_record(row) for row in (await connection.execute(wanted)).mappings()]

    async def cancel(self, owner: str, id_: str, now: int) -> BatchRecord:
        """Let a batch be ended. Raises NotFound, or BatchEnded if there is nothing to end."""
        async with self.database.begin() as connection:
            found = await _one(connection, owner, id_)
            change = update(batches).where(
                batches.c.seq == found.seq,
                batches.c.status.in_(("validating", "in_progress")),
                batches.c.ending.is_(None),
            )
            values = {"status": "cancelling", "cancelling_at": now}
            changed = (await connection.execute(change.values(values))).rowcount
            found = await _one(connection, owner, id_)
        if not changed and found.status not in ("cancelling", "cancelled"):
            raise BatchEnded(f"the batch can't be cancelled: its status is '{found.status}'")
        return found

    # ------------------------------------------------------------------ for the runner

    async def open(self) -> list[BatchRecord]:
        """Return all batches that have not ended, the oldest first."""
        wanted = select(batches).where(OPEN).order_by(batches.c.seq)
        async with self.database.read() as connection:
            return [_record(row) for row in (await connection.execute(wanted)).mappings()]

    async def enqueued(self, owner: str) -> int:
        """Return the lines of an owner's batches that have no result yet."""
        rest = func.sum(batches.c.total - batches.c.completed - batches.c.failed)
        wanted = select(func.coalesce(rest, 0)).where(batches.c.owner == owner, OPEN)
        async with self.database.read() as connection:
            return int((await connection.execute(wanted)).scalar_one())

    async def adopt(self, id_: str, gateway: str, *, sealed: bool) -> bool:
        """Take a batch upon this gateway, if no other has it: to finalize it if it is ``sealed``,
        else to validate it. False too if there is nothing of that to be done any more."""
        due = batches.c.ending.is_not(None) if sealed else batches.c.status == "validating"
        change = update(batches).where(batches.c.id == id_, batches.c.gateway.is_(None), due, OPEN)
        async with self.database.begin() as connection:
            if not await alive(connection, gateway):
                return False
            return (await connection.execute(change.values(gateway=gateway))).rowcount > 0

    async def validated(self, id_: str, gateway: str, model: str, total: int, now: int) -> bool:
        """Let a batch run. False: it was cancelled, or is another gateway's by now."""
        change = update(batches).where(
            batches.c.id == id_, batches.c.gateway == gateway, batches.c.status == "validating"
        )
        return await self._changed(
            change.values(
                status="in_progress",
                gateway=None,
                model=model.encode(),
                total=total,
                in_progress_at=now,
            )
        )

    async def refuse(self, id_: str, gateway: str, errors: list[BatchProblem], now: int) -> bool:
        """Note that a batch's file is wrong: it has failed, and none of its lines runs."""
        change = update(batches).where(
            batches.c.id == id_, batches.c.gateway == gateway, batches.c.status == "validating"
        )
        values = {"status": "failed", "gateway": None, "failed_at": now}
        async with self.database.begin() as connection:
            changed = await connection.execute(change.values(errors=orjson.dumps(errors), **values))
            if changed.rowcount:
                await connection.execute(delete(lines).where(lines.c.batch == id_))
        return changed.rowcount > 0

    async def seal(
        self, id_: str, ending: Ending, now: int, errors: list[BatchProblem] | None = None
    ) -> bool:
        """Settle how a batch ends: from now on no line is taken, and no result added."""
        change = update(batches).where(batches.c.id == id_, batches.c.ending.is_(None), OPEN)
        values: dict[str, Any] = {"ending": ending, "finalizing_at": now, "gateway": None}
        if ending != "cancelled":
            values["status"] = "finalizing"
        if errors is not None:
            values["errors"] = orjson.dumps(errors)
        return await self._changed(change.values(values))

    async def forget_before(self, moment: int) -> None:
        """Delete the batches that were made before, and have ended."""
        old = delete(batches).where(batches.c.created_at < moment, batches.c.status.in_(ENDED))
        async with self.database.begin() as connection:
            await connection.execute(old)

    async def _changed(self, statement: Any) -> bool:
        async with self.database.begin() as connection:
            return (await connection.execute(statement)).rowcount > 0


async def _results(connection: AsyncConnection, owner: str) -> int:
    """Return the bytes of results that will be output of an owner's open batches."""
    size = func.coalesce(func.sum(func.length(lines.c.result)), 0)
    mine = select(size).join_from(lines, batches, lines.c.batch == batches.c.id)
    return int((await connection.execute(mine.where(batches.c.owner == owner, OPEN))).scalar_one())


async def _one(connection: AsyncConnection, owner: str, id_: str) -> BatchRecord:
    wanted = select(batches).where(batches.c.owner == owner, batches.c.id == id_)
    row = (await connection.execute(wanted)).mappings().first() if may_be_id(id_) else None
    if row is None:
        raise NotFound("there is no such batch")
    return _record(row)


def _record(row: RowMapping) -> BatchRecord:
    fields = dict(row)
    counts = [fields.pop(f"{name}_tokens") for name in TokenCounts._fields]
    model, metadata, errors = (fields.pop(name) for name in ("model", "metadata", "errors"))
    return BatchRecord(
        **fields,
        tokens=TokenCounts(*counts),
        model=None if model is None else model.decode(),
        metadata=None if metadata is None else orjson.loads(metadata),
        errors=[] if errors is None else orjson.loads(errors),
    )
