"""Usage in the database: hours for the tables, and the sums that budgets need."""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.periods import HOUR_S, month_before
from gateway.core.usage_counts import (
    STEP_S,
    UsageCounts,
    UsageKey,
    UsageQuestion,
    UsageSum,
)
from gateway.stored.database import Database
from gateway.stored.incoming import Clock
from gateway.stored.tables import usage_hours, usage_spent, usage_writers
from gateway.stored.upsert import insert_or_update

AT_ONCE = 500
"""Rows of a statement."""
FORGOTTEN_S = 7 * 24 * HOUR_S
"""After this time no gateway asks any more if its sums came through."""
COUNTS = [usage_hours.c[name] for name in UsageCounts._fields]

Spent = tuple[str, str]
"""A key's name and that of a day or a month."""


class UsageRows:
    """All usage of a store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def add(
        self,
        writer: str,
        number: int,
        sums: Mapping[UsageKey, UsageCounts],
        spent: Mapping[Spent, int],
        wanted: Collection[Spent],
    ) -> dict[Spent, int]:
        """Add sums, once for each ``number`` of a ``writer``; return what is spent of ``wanted``.

        Raises StorageFull or Unavailable: then the same call may be made again.
        """
        async with self._database.begin() as run:
            if (sums or spent) and await self._first(run, writer, number):
                await _add_hours(run, sums)
                await _add_spent(run, spent)
            return await _spent(run, wanted)

    async def _first(self, run: AsyncConnection, writer: str, number: int) -> bool:
        """Note the number; return whether it is new."""
        found = select(usage_writers.c.number).where(usage_writers.c.id == writer)
        before = await run.scalar(found)
        if before is not None and before >= number:
            return False
        row = {"number": number, "seen_at": int(self._clock())}
        made = insert_or_update(run, usage_writers).values(id=writer, **row)
        await run.execute(made.on_conflict_do_update(index_elements=["id"], set_=row))
        return True

    async def spent(self, wanted: Collection[Spent]) -> dict[Spent, int]:
        """Return what is spent of ``wanted``."""
        async with self._database.read() as run:
            return await _spent(run, wanted)

    async def read(self, asked: UsageQuestion) -> list[UsageSum]:
        """Return sums, the newest first."""
        hours = STEP_S[asked.step] // HOUR_S
        at = (usage_hours.c.hour // hours * hours).label("at")
        columns = (at, usage_hours.c.owner, usage_hours.c.model)
        query = select(*columns, *(func.sum(each) for each in COUNTS)).where(
            usage_hours.c.hour >= asked.since, usage_hours.c.hour < asked.until
        )
        if asked.owner is not None:
            query = query.where(usage_hours.c.owner == asked.owner)
        if asked.model is not None:
            query = query.where(usage_hours.c.model == asked.model)
        query = query.group_by(*columns).order_by(at.desc(), *columns[1:]).limit(asked.limit)
        async with self._database.read() as run:
            rows = (await run.execute(query)).all()
        return [UsageSum(row[0], row[1], row[2], UsageCounts(*map(int, row[3:]))) for row in rows]

    async def sweep(self, days: int) -> None:
        """Delete hours that are older than so many days, and what no budget needs."""
        now = self._clock()
        oldest = int(now // HOUR_S) - days * 24
        async with self._database.begin() as run:
            await run.execute(delete(usage_hours).where(usage_hours.c.hour < oldest))
            await run.execute(delete(usage_spent).where(usage_spent.c.period < month_before(now)))
            forgotten = usage_writers.c.seen_at < int(now) - FORGOTTEN_S
            await run.execute(delete(usage_writers).where(forgotten))


async def _add_hours(run: AsyncConnection, sums: Mapping[UsageKey, UsageCounts]) -> None:
    # Sorted: two gateways that lock the same rows in another order would wait for each other.
    rows = [{**at._asdict(), **sums[at]._asdict()} for at in sorted(sums)]
    made = insert_or_update(run, usage_hours)
    more = {each.name: each + made.excluded[each.name] for each in COUNTS}
    statement = made.on_conflict_do_update(index_elements=["hour", "owner", "model"], set_=more)
    for at in range(0, len(rows), AT_ONCE):
        await run.execute(statement, rows[at : at + AT_ONCE])


async def _add_spent(run: AsyncConnection, spent: Mapping[Spent, int]) -> None:
    rows = [{"owner": at[0], "period": at[1], "tokens": spent[at]} for at in sorted(spent)]
    made = insert_or_update(run, usage_spent)
    more = {"tokens": usage_spent.c.tokens + made.excluded.tokens}
    statement = made.on_conflict_do_update(index_elements=["owner", "period"], set_=more)
    for at in range(0, len(rows), AT_ONCE):
        await run.execute(statement, rows[at : at + AT_ONCE])


async def _spent(run: AsyncConnection, wanted: Collection[Spent]) -> dict[Spent, int]:
    found: dict[Spent, int] = {}
    pairs = tuple_(usage_spent.c.owner, usage_spent.c.period)
    ordered = sorted(wanted)
    for at in range(0, len(ordered), AT_ONCE):
        these = pairs.in_(ordered[at : at + AT_ONCE])
        for row in await run.execute(select(usage_spent).where(these)):
            found[row.owner, row.period] = row.tokens
    return found
