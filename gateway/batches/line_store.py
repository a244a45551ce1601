"""Lines in the store. Each has one result: it is recorded only while this gateway has the line.

States: waiting -> taken (by a gateway) -> done or failed. A line whose gateway died, or gave it up,
waits again. What is recorded and what is taken next go in one transaction, for each costs a flush
of the disk.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, bindparam, delete, exists, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.batches.answers import TokenCounts
from gateway.batches.line_states import DONE, FAILED, TAKEN, WAITING
from gateway.batches.membership import alive
from gateway.batches.record import DoneLine, Exchange, TakenLine
from gateway.batches.validation import CheckedLine
from gateway.stored.database import Database
from gateway.stored.tables import batches, lines

_record = (
    update(lines)
    .where(lines.c.batch == bindparam("of"), lines.c.number == bindparam("which"))
    .values(
        state=bindparam("now"),
        result=bindparam("told"),
        gateway=None,
        body=b"",  # it is not needed any more, and the result takes its place on the disk
    )
)


class LostBatch(Exception):
    """Another gateway goes on with a batch that this one was validating or finalizing."""


class LineStore:
    """The rows of lines, for one gateway."""

    def __init__(self, database: Database, gateway: str) -> None:
        self._database, self._gateway = database, gateway

    # ------------------------------------------------------------------ validating

    async def clear(self, batch: str) -> None:
        """Delete all lines of a batch that an earlier validation has left. Raises LostBatch."""
        async with self._database.begin() as connection:
            await self._check_mine(connection, batch)
            await connection.execute(delete(lines).where(lines.c.batch == batch))

    async def add(self, batch: str, checked: Sequence[CheckedLine]) -> None:
        """Add lines to a batch that this gateway validates. Raises LostBatch."""
        rows = [
            {
                "batch": batch,
                "number": line.number,
                "custom_id": line.custom_id.encode(),
                "state": WAITING,
                "cluster": line.cluster,
                "body": line.body,
            }
            for line in checked
        ]
        async with self._database.begin() as connection:
            await self._check_mine(connection, batch)
            await connection.execute(insert(lines), rows)

    async def _check_mine(self, connection: AsyncConnection, batch: str) -> None:
        wanted = select(batches.c.gateway, batches.c.status).where(batches.c.id == batch)
        row = (await connection.execute(wanted.with_for_update())).first()
        if row is None or (row.gateway, row.status) != (self._gateway, "validating"):
            raise LostBatch(batch)

    # ------------------------------------------------------------------ running

    async def exchange(
        self,
        done: Iterable[DoneLine],
        given_up: Iterable[tuple[str, int]],
        wanted: Mapping[str, int],
    ) -> Exchange:
        """Record results, let lines wait again, and take others: so many of each batch."""
        results, returned = (
            defaultdict[str, list[DoneLine]](list),
            defaultdict[str, list[int]](list),
        )
        for line in done:
            results[line.batch].append(line)
        for batch, number in given_up:
            returned[batch].append(number)
        found = Exchange()
        async with self._database.begin() as connection:
            if wanted and not await alive(connection, self._gateway):
                wanted = {}
            # In one order, so that two gateways never wait for each other.
            for batch in sorted({*results, *returned, *wanted}):
                if results[batch]:
                    found.recorded[batch] = await self._finish(connection, batch, results[batch])
                if returned[batch]:
                    await self._give_up(connection, batch, returned[batch])
                if wanted.get(batch):
                    found.taken += await self._take(connection, batch, wanted[batch])
        return found

    async def own(self) -> set[tuple[str, int]]:
        """Return all lines that this gateway has, by batch and number."""
        wanted = select(lines.c.batch, lines.c.number)
        wanted = wanted.where(lines.c.gateway == self._gateway, lines.c.state == TAKEN)
        async with self._database.read() as connection:
            return {(row.batch, row.number) for row in await connection.execute(wanted)}

    async def _finish(
        self, connection: AsyncConnection, batch: str, results: list[DoneLine]
    ) -> tuple[int, int]:
        """Return how many of the results count: of lines that are this gateway's."""
        ending = select(batches.c.ending).where(batches.c.id == batch).with_for_update()
        row = (await connection.execute(ending)).first()
        if row is None or row.ending is not None:
            return 0, 0
        numbers = [line.number for line in results]
        own = select(lines.c.number).where(*self._own(batch, numbers))
        mine = set((await connection.execute(own)).scalars())
        counted = {line.number: line for line in results if line.number in mine}
        if not counted:
            return 0, 0
        rows = [
            {
                "of": batch,
                "which": line.number,
                "now": DONE if line.ok else FAILED,
                "told": line.result,
            }
            for line in counted.values()
        ]
        await connection.execute(_record, rows)
        completed = sum(line.ok for line in counted.values())
        failed = len(counted) - completed
        tokens = TokenCounts()
        for line in counted.values():
            tokens = tokens.plus(line.tokens)
        added = {"completed": completed, "failed": failed}
        added |= {f"{name}_tokens": value for name, value in tokens._asdict().items()}
        values = {name: batches.c[name] + value for name, value in added.items()}
        await connection.execute(update(batches).where(batches.c.id == batch).values(values))
        return completed, failed

    async def _give_up(self, connection: AsyncConnection, batch: str, numbers: list[int]) -> None:
        change = update(lines).where(*self._own(batch, numbers))
        await connection.execute(change.values(state=WAITING, gateway=None))

    async def _take(self, connection: AsyncConnection, batch: str, most: int) -> list[TakenLine]:
        running = exists().where(
            batches.c.id == batch, batches.c.status == "in_progress", batches.c.ending.is_(None)
        )
        wanted = (
            select(lines.c.number, lines.c.custom_id, lines.c.body)
            .where(lines.c.batch == batch, lines.c.state == WAITING, running)
            .order_by(lines.c.cluster, lines.c.number)
            .limit(most)
            .with_for_update(skip_locked=True, of=lines)
        )
        rows = (await connection.execute(wanted)).all()
        if rows:
            numbers = [row.number for row in rows]
            change = update(lines).where(lines.c.batch == batch, lines.c.number.in_(numbers))
            await connection.execute(change.values(state=TAKEN, gateway=self._gateway))
        return [TakenLine(batch, row.number, row.custom_id.decode(), row.body) for row in rows]

    def _own(self, batch: str, numbers: list[int]) -> tuple[ColumnElement[bool], ...]:
        return (
            lines.c.batch == batch,
            lines.c.number.in_(numbers),
            lines.c.state == TAKEN,
            lines.c.gateway == self._gateway,
        )

    async def any_taken(self, batch: str) -> bool:
        """Tell whether a gateway runs lines of a batch."""
        wanted = select(lines.c.number).where(lines.c.batch == batch, lines.c.state == TAKEN)
        async with self._database.read() as connection:
            return (await connection.execute(wanted.limit(1))).first() is not None

    # ------------------------------------------------------------------ finalizing

    async def results(
        self, batch: str, state: str, after: int, most: int
    ) -> list[tuple[int, bytes]]:
        """Return results of a batch that is sealed: the next ones in the order of the input."""
        wanted = (
            select(lines.c.number, lines.c.result)
            .where(lines.c.batch == batch, lines.c.state == state, lines.c.number > after)
            .order_by(lines.c.number)
            .limit(most)
        )
        async with self._database.read() as connection:
            return [(row.number, row.result) for row in await connection.execute(wanted)]

    async def never_run(self, batch: str, after: int, most: int) -> list[tuple[int, str]]:
        """Return lines without a result, by number and `custom_id`, likewise."""
        wanted = (
            select(lines.c.number, lines.c.custom_id)
            .where(
                lines.c.batch == batch,
                lines.c.state.in_((WAITING, TAKEN)),
                lines.c.number > after,
            )
            .order_by(lines.c.number)
            .limit(most)
        )
        async with self._database.read() as connection:
            found = await connection.execute(wanted)
            return [(row.number, row.custom_id.decode()) for row in found]
