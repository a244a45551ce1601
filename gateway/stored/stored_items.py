"""The items of stored responses and conversations, read and changed."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.stored.object_rows import (
    AT_ONCE,
    CONVERSATION,
    ITEM,
    LINK,
    RESPONSE,
    ItemRow,
    add_items,
    chain,
    charge,
    lock,
    size_of,
)
from gateway.stored.objects import Objects
from gateway.stored.tables import object_items, objects


class ItemsPart(NamedTuple):
    """The part of an object's items that is wanted."""

    after: bytes | None
    """The id of the item before the first."""
    limit: int
    oldest_first: bool


class NoItem(Exception):
    """The object has no item of this id."""


class StoredItems:
    """The items of all objects. Of one that its owner does not find they are None."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._database = objects.database

    async def history(self, owner: str, id_: str) -> list[ItemRow] | None:
        """Return the items of a response after those of all before it."""
        up = chain(id_)
        wanted = (
            select(object_items.c.id, object_items.c.json)
            .join(up, up.c.id == object_items.c.object)
            .order_by(up.c.distance.desc(), object_items.c.position)
        )
        async with self._database.read() as run:
            if await self._given(run, owner, id_, RESPONSE) is None:
                return None
            return [(row.id, row.json) for row in await run.execute(wanted)]

    async def all(self, owner: str, id_: str) -> list[ItemRow] | None:
        """Return the items of a conversation."""
        mine = object_items.c.object == id_
        wanted = select(object_items.c.id, object_items.c.json).where(mine)
        async with self._database.read() as run:
            if await self._given(run, owner, id_, CONVERSATION) is None:
                return None
            rows = await run.execute(wanted.order_by(object_items.c.position))
            return [(row.id, row.json) for row in rows]

    async def part(self, owner: str, id_: str, kind: str, part: ItemsPart) -> list[ItemRow] | None:
        """Return a part of the items of a conversation, or of those that a response was given.

        Raises NoItem about the one after which it begins.
        """
        place = object_items.c.position
        mine = object_items.c.object == id_
        async with self._database.read() as run:
            given = await self._given(run, owner, id_, kind)
            if given is None:
                return None
            wanted = mine if kind == CONVERSATION else mine & (place < given)
            if part.after is not None:
                after = select(place).where(wanted & (object_items.c.id == part.after))
                at = await run.scalar(after)
                if at is None:
                    raise NoItem
                wanted &= place > at if part.oldest_first else place < at
            found = select(object_items.c.id, object_items.c.json).where(wanted)
            order = place if part.oldest_first else place.desc()
            rows = await run.execute(found.order_by(order).limit(part.limit))
            return [(row.id, row.json) for row in rows]

    async def one(self, owner: str, id_: str, item: bytes) -> bytes | None:
        """Return an item of a conversation. Raises NoItem."""
        wanted = (object_items.c.object == id_) & (object_items.c.id == item)
        async with self._database.read() as run:
            if await self._given(run, owner, id_, CONVERSATION) is None:
                return None
            json = await run.scalar(select(object_items.c.json).where(wanted))
        if json is None:
            raise NoItem
        return bytes(json)

    async def find(self, owner: str, wanted: Collection[bytes]) -> dict[bytes, bytes]:
        """Return those of an owner's items that have one of these ids, the newest of each."""
        ids, found = list(wanted), dict[bytes, bytes]()
        own = (object_items.c.owner == owner) & (objects.c.kind != LINK)
        own &= objects.c.used_ns > self._objects.oldest_ns
        items = (
            select(object_items.c.id, object_items.c.json)
            .join(objects, objects.c.id == object_items.c.object)
            .order_by(objects.c.used_ns, objects.c.seq)
        )
        async with self._database.read() as run:
            for at in range(0, len(ids), AT_ONCE):
                some = object_items.c.id.in_(ids[at : at + AT_ONCE])
                found |= {row.id: row.json for row in await run.execute(items.where(own & some))}
        return found

    async def _given(self, run: AsyncConnection, owner: str, id_: str, kind: str) -> int | None:
        """Return how many items a response was given; None if its owner has none of this id."""
        mine = self._objects.visible(owner, id_, kind)
        found: int | None = await run.scalar(select(objects.c.given).where(mine))
        return found

    # ------------------------------------------------------------------ conversations

    async def describe(self, owner: str, id_: str, body: bytes) -> list[str] | None:
        """Give a conversation another body; return the ids of objects that had to go for it."""
        return await self._change(owner, id_, (), (), body)

    async def add(self, owner: str, id_: str, items: Sequence[ItemRow]) -> list[str] | None:
        """Add items to a conversation, in the places of those that have one of their ids; return
        the ids of objects that had to go for them."""
        return await self._change(owner, id_, [item for item, _ in items], items, None)

    async def remove(self, owner: str, id_: str, item: bytes) -> list[str] | None:
        """Take an item out of a conversation. Raises NoItem."""
        return await self._change(owner, id_, [item], (), None)

    async def _change(
        self,
        owner: str,
        id_: str,
        without: Sequence[bytes],
        items: Sequence[ItemRow],
        body: bytes | None,
    ) -> list[str] | None:
        async with self._database.begin() as run:
            await lock(run, owner)
            mine = self._objects.visible(owner, id_, CONVERSATION)
            columns = objects.c.next, func.length(objects.c.body).label("body")
            row = (await run.execute(select(*columns).where(mine))).one_or_none()
            if row is None:
                return None
            less = await _remove(run, id_, without)
            if without and not items and not less:
                raise NoItem
            await add_items(run, owner, id_, items, row.next)
            of_items = size_of(items) - less
            more = of_items + (0 if body is None else len(body) - row.body)
            values = {
                "next": row.next + len(items),
                "items_size": objects.c.items_size + of_items,
                "size": objects.c.size + more,
                "used_ns": self._objects.now_ns(),
            }
            if body is not None:
                values["body"] = body
            await run.execute(update(objects).where(objects.c.id == id_).values(values))
            await charge(run, owner, more)
        return await self._objects.shrink()


async def _remove(run: AsyncConnection, id_: str, items: Sequence[bytes]) -> int:
    """Take items out of an object; return the bytes that are free."""
    freed = 0
    for at in range(0, len(items), AT_ONCE):
        some = object_items.c.id.in_(items[at : at + AT_ONCE])
        mine = (object_items.c.object == id_) & some
        size = func.sum(func.length(object_items.c.json) + ITEM)
        freed += int(await run.scalar(select(size).where(mine)) or 0)
        await run.execute(delete(object_items).where(mine))
    return freed
