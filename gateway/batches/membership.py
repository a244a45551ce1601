"""This gateway among those that share a store: its heartbeat, and what dead ones leave.

A gateway that has not written its heartbeat for :data:`DEAD_S` is dead to the others: its row goes,
its lines wait again, its batches are free. Was it only slow, it finds its row gone and begins anew,
and what it still computes for the old lines counts no more. Times are those of PostgreSQL's clock,
for the gateways' own may differ. SQLite has one gateway, whose predecessor is dead at its start.
"""

import time
from typing import Any

from sqlalchemy import BigInteger, cast, delete, extract, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.batches.line_states import TAKEN, WAITING
from gateway.stored.database import Database
from gateway.stored.tables import batches, gateways, lines

BEAT_S = 5.0
DEAD_S = 20


class Membership:
    """The row of one gateway."""

    def __init__(self, database: Database, gateway: str) -> None:
        self._database, self._gateway = database, gateway

    async def join(self) -> None:
        """Add the row; on SQLite, take over what the last gateway left."""
        async with self._database.begin() as connection:
            if not self._database.postgres:
                others = await connection.execute(select(gateways.c.id))
                await _bury(connection, list(others.scalars()))
            now = self._now()
            values = {"id": self._gateway, "started_at": now, "beat_at": now}
            await connection.execute(insert(gateways).values(values))

    async def beat(self) -> bool:
        """Write the heartbeat, and bury the dead. False: this gateway is dead to the others."""
        alive = update(gateways).where(gateways.c.id == self._gateway)
        async with self._database.begin() as connection:
            beaten = await connection.execute(alive.values(beat_at=self._now()))
            if not beaten.rowcount:
                return False
            if self._database.postgres:
                silent = select(gateways.c.id).where(gateways.c.beat_at < self._now() - DEAD_S)
                # Another gateway may be burying them.
                found = await connection.execute(silent.with_for_update(skip_locked=True))
                await _bury(connection, list(found.scalars()))
        return True

    async def leave(self) -> None:
        """Delete the row; what this gateway still had is free at once."""
        async with self._database.begin() as connection:
            await _bury(connection, [self._gateway])

    def _now(self) -> Any:
        if self._database.postgres:
            return cast(extract("epoch", func.clock_timestamp()), BigInteger)
        return literal(int(time.time()), BigInteger)


async def alive(connection: AsyncConnection, gateway: str) -> bool:
    """Return whether the others take a gateway for alive; they do until the transaction ends.

    One that is buried must take nothing more: no other gateway would ever free it.
    """
    mine = select(gateways.c.id).where(gateways.c.id == gateway).with_for_update(read=True)
    return (await connection.execute(mine)).first() is not None


async def _bury(connection: AsyncConnection, dead: list[str]) -> None:
    """Free what gateways had, and delete their rows."""
    if not dead:
        return
    left = update(lines).where(lines.c.gateway.in_(dead), lines.c.state == TAKEN)
    await connection.execute(left.values(state=WAITING, gateway=None))
    begun = update(batches).where(batches.c.gateway.in_(dead))
    await connection.execute(begun.values(gateway=None))
    await connection.execute(delete(gateways).where(gateways.c.id.in_(dead)))
