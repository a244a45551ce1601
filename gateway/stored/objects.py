"""Stored responses and conversations: rows of an owner, bounded in bytes and age.

A response may follow another one, its parent, whose items are then part of its history. Once it is
deleted its owner does not find it any more; while another follows it, its items stay as a row of
the kind ``link``, and go with the last that needs them.

A transaction that writes begins with the owner's row in ``object_owners``, which counts the bytes:
so two of one owner take turns, and two of different owners have no row in common. Where the bytes
of all exceed the room, the owner with the most loses its oldest first.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.clock import NANO
from gateway.stored.database import Database
from gateway.stored.object_rows import (
    AT_ONCE,
    LINK,
    OVERHEAD,
    ItemRow,
    add_items,
    bytes_of_all,
    bytes_of_chain,
    charge,
    lock,
    size_of,
    take,
)
from gateway.stored.tables import object_owners, objects

log = logging.getLogger("forge.store")

WORKING = ("queued", "in_progress")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A row without its items and its log."""

    id: str
    kind: str
    body: bytes
    """JSON."""
    status: str | None = None
    """Of a response."""
    background: bool = False
    """True: a response with a log of its events."""
    gateway: str | None = None
    """The server that is at work on it."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A response that a new one follows."""

    id: str
    items: Sequence[ItemRow] = field(repr=False)
    """Its whole history, in case that it is gone by then."""


class _NoRoom(Exception):
    """An object and its history are larger than the room for all."""


class Objects:
    """The rows of all owners: they come, change and go."""

    def __init__(
        self, database: Database, room: int, age: float, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """``room``: bytes of all together. ``age``: seconds after which an object is too old."""
        self.database = database
        self.room = room
        self._age_ns = int(age * NANO)
        self.now_ns = now_ns

    def visible(self, owner: str, id_: str, kind: str) -> ColumnElement[bool]:
        """Return the condition under which an owner finds an object."""
        return (
            (objects.c.id == id_)
            & (objects.c.owner == owner)
            & (objects.c.kind == kind)
            & (objects.c.used_ns > self.oldest_ns)
        )

    @property
    def oldest_ns(self) -> int:
        """Return the moment from which on an object is not too old."""
        return self.now_ns() - self._age_ns

    async def get(self, owner: str, id_: str, kind: str) -> StoredObject | None:
        """Return an object; None if its owner has none of this id."""
        wanted = select(
            objects.c.id,
            objects.c.kind,
            objects.c.body,
            objects.c.status,
            objects.c.background,
            objects.c.gateway,
        ).where(self.visible(owner, id_, kind))
        async with self.database.read() as run:
            row = (await run.execute(wanted)).one_or_none()
        if row is None:
            return None
        return StoredObject(
            row.id, row.kind, row.body, row.status, bool(row.background), row.gateway
        )

    async def events(self, id_: str) -> bytes:
        """Return the log of a response's events; empty if there is none."""
        async with self.database.read() as run:
            found = await run.scalar(select(objects.c.log).where(objects.c.id == id_))
        return found or b""

    # ------------------------------------------------------------------ come

    async def insert(
        self,
        owner: str,
        new: StoredObject,
        items: Sequence[ItemRow],
        *,
        given: int = 0,
        log: bytes = b"",
        parent: Parent | None = None,
    ) -> list[str] | None:
        """Add an object; return the ids of those that had to go, or None if there is no room.

        ``given``: so many of the items are a response's input.
        """
        try:
            full = await self._insert(owner, new, items, given, log, parent)
        except _NoRoom:
            return None
        gone = await self.shrink() if full else []
        return None if new.id in gone else gone

    async def _insert(
        self,
        owner: str,
        new: StoredObject,
        items: Sequence[ItemRow],
        given: int,
        log: bytes,
        parent: Parent | None,
    ) -> bool:
        """Return whether there is more than there is room for. Raises _NoRoom."""
        told = len(new.body) + len(log)
        of_items = size_of(items)
        async with self.database.begin() as run:
            await lock(run, owner)
            missing = 0 if parent is None else await self._follow(run, owner, parent)
            row = self._row(owner, new) | {
                "parent": None if parent is None else parent.id,
                "given": given,
                "size": OVERHEAD + told + of_items,
                "items_size": of_items,
                "next": len(items),
                "log": log or None,
            }
            await run.execute(insert(objects).values(row))
            await add_items(run, owner, new.id, items, 0)
            await charge(run, owner, row["size"] + missing)
            full = await bytes_of_all(run) > self.room
            if full and told + await bytes_of_chain(run, new.id) > self.room:
                raise _NoRoom
        return full

    def _row(self, owner: str, new: StoredObject) -> dict[str, Any]:
        now = self.now_ns()
        return {
            "id": new.id,
            "owner": owner,
            "kind": new.kind,
            "status": new.status,
            "children": 0,
            "background": int(new.background),
            "gateway": new.gateway,
            "seen_at": now // NANO,
            "used_ns": now,
            "body": new.body,
        }

    async def _follow(self, run: AsyncConnection, owner: str, parent: Parent) -> int:
        """Note one more that follows; return the bytes of a history that had to be made again."""
        mine = (objects.c.id == parent.id) & (objects.c.owner == owner)
        more = update(objects).where(mine).values(children=objects.c.children + 1)
        if (await run.execute(more)).rowcount:
            return 0
        of_items = size_of(parent.items)
        row = self._row(owner, StoredObject(parent.id, LINK, b"")) | {
            "given": 0,
            "children": 1,
            "size": OVERHEAD + of_items,
            "items_size": of_items,
            "next": len(parent.items),
        }
        await run.execute(insert(objects).values(row))
        await add_items(run, owner, parent.id, parent.items, 0)
        return OVERHEAD + of_items

    # ------------------------------------------------------------------ change

    async def finish(
        self, owner: str, done: StoredObject, items: Sequence[ItemRow], log: bytes
    ) -> list[str]:
        """Give a response its end, unless it has one or is gone; return the ids that had to go."""
        at_work = (objects.c.id == done.id) & objects.c.status.in_(WORKING)
        async with self.database.begin() as run:
            await lock(run, owner)
            found = select(objects.c.size, objects.c.next).where(at_work)
            row = (await run.execute(found)).one_or_none()
            if row is None:
                return []
            of_items = size_of(items)
            size = OVERHEAD + len(done.body) + len(log)
            values = {
                "status": done.status,
                "gateway": None,
                "body": done.body,
                "log": log or None,
                "items_size": objects.c.items_size + of_items,
                "size": objects.c.items_size + of_items + size,
                "next": row.next + len(items),
            }
            after = update(objects).where(at_work).values(values).returning(objects.c.size)
            changed = (await run.execute(after)).scalar_one()
            await add_items(run, owner, done.id, items, row.next)
            await charge(run, owner, changed - row.size)
            full = await bytes_of_all(run) > self.room
        return await self.shrink() if full else []

    async def end(self, owner: str, id_: str, status: str, body: bytes) -> None:
        """Give a response an end that its server did not give, unless it has one."""
        at_work = (objects.c.id == id_) & objects.c.status.in_(WORKING)
        async with self.database.begin() as run:
            await lock(run, owner)
            more = len(body) - func.length(objects.c.body)
            grown = await run.scalar(select(more).where(at_work))
            if grown is not None:
                values = {"status": status, "gateway": None, "body": body}
                size = objects.c.size + grown
                await run.execute(update(objects).where(at_work).values(values | {"size": size}))
                await charge(run, owner, grown)

    async def beat(self, gateway: str) -> set[str]:
        """Note that a server is still at work; return the responses that it should work on."""
        mine = (objects.c.gateway == gateway) & objects.c.status.in_(WORKING)
        ids = select(objects.c.id).where(mine)
        # Rows that another transaction holds are left out: to wait for them could be a deadlock.
        free = objects.c.id.in_(ids.with_for_update(skip_locked=True))
        seen = update(objects).where(free).values(seen_at=self.now_ns() // NANO)
        async with self.database.begin() as run:
            await run.execute(seen)
            return {*(await run.scalars(ids))}

    async def abandoned(self, gateway: str, silent_s: float | None) -> list[tuple[str, str, bytes]]:
        """Return owners, ids and bodies of responses at work that other servers have left.

        ``silent_s``: seconds after which a server is taken for dead; None: it is, there is one.
        """
        wanted = objects.c.status.in_(WORKING) & (objects.c.gateway != gateway)
        if silent_s is not None:
            wanted &= objects.c.seen_at < self.now_ns() // NANO - silent_s
        found = select(objects.c.owner, objects.c.id, objects.c.body).where(wanted)
        async with self.database.read() as run:
            return [(row.owner, row.id, row.body) for row in await run.execute(found)]

    # ------------------------------------------------------------------ go

    async def delete(self, owner: str, id_: str, kind: str) -> bool:
        """Take an object away; return whether there was one."""
        async with self.database.begin() as run:
            await lock(run, owner)
            found = select(objects.c.seq).where(self.visible(owner, id_, kind))
            if await run.scalar(found) is None:
                return False
            await charge(run, owner, -await take(run, id_))
        return True

    async def sweep(self) -> list[str]:
        """Take away what is too old; return the ids."""
        gone: list[str] = []
        while True:
            old = (objects.c.used_ns <= self.oldest_ns) & (objects.c.kind != LINK)
            async with self.database.begin() as run:
                owner = await run.scalar(select(objects.c.owner).where(old).limit(1))
                if owner is None:
                    return gone
                await lock(run, owner)
                gone += await self._evict(run, owner, old, None)

    async def shrink(self) -> list[str]:
        """Take away what is too much; return the ids."""
        gone: list[str] = []
        async with self.database.read() as run:
            if await bytes_of_all(run) <= self.room:
                return gone
        while True:
            async with self.database.begin() as run:
                too_much = await bytes_of_all(run) - self.room
                if too_much <= 0:
                    return gone
                most = select(object_owners).order_by(object_owners.c.bytes.desc()).limit(2)
                first, *others = (await run.execute(most)).all()
                await lock(run, first.owner)
                ahead = first.bytes - (others[0].bytes if others else 0)
                every = objects.c.kind != LINK
                taken = await self._evict(run, first.owner, every, min(too_much, ahead + 1))
                if not taken:
                    log.error("bytes of stored objects are counted that are not there")
                    return gone
                gone += taken

    async def _evict(
        self, run: AsyncConnection, owner: str, wanted: ColumnElement[bool], enough: int | None
    ) -> list[str]:
        """Take away an owner's oldest until so many bytes are free; None: all that are wanted."""
        oldest = (
            select(objects.c.id)
            .where((objects.c.owner == owner) & wanted)
            .order_by(objects.c.used_ns, objects.c.seq)
            .limit(AT_ONCE)
        )
        gone: list[str] = []
        freed = 0
        for id_ in (await run.scalars(oldest)).all():
            if enough is not None and freed >= enough:
                break
            freed += await take(run, id_)
            gone.append(id_)
        await charge(run, owner, -freed)
        return gone
