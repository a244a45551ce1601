"""Parts of the transactions of :class:`gateway.stored.objects.Objects`, and their queries."""

from collections.abc import Sequence

from sqlalchemy import CTE, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.stored.tables import object_items, object_owners, objects
from gateway.stored.upsert import insert_or_update

RESPONSE, CONVERSATION, LINK = "response", "conversation", "link"
OVERHEAD, ITEM = 1536, 256
"""Bytes that an object and an item cost beside what they say."""
AT_ONCE = 200
"""Rows of a statement, and objects that one transaction takes away."""

ItemRow = tuple[bytes, bytes]
"""An item's id and JSON."""


def size_of(items: Sequence[ItemRow]) -> int:
    """Return the bytes for which items count."""
    return sum(ITEM + len(json) for _, json in items)


async def lock(run: AsyncConnection, owner: str) -> None:
    """Let no other transaction of the owner write until this one ends."""
    await charge(run, owner, 0)


async def charge(run: AsyncConnection, owner: str, more: int) -> None:
    """Count bytes of an owner; negative: they are free."""
    row = insert_or_update(run, object_owners).values(owner=owner, bytes=more)
    total = {"bytes": object_owners.c.bytes + more}
    await run.execute(row.on_conflict_do_update(index_elements=["owner"], set_=total))


async def add_items(
    run: AsyncConnection, owner: str, object_: str, items: Sequence[ItemRow], first: int
) -> None:
    """Add items to an object, from a position on."""
    for at in range(0, len(items), AT_ONCE):
        rows = [
            {"object": object_, "position": first + place, "owner": owner, "id": id_, "json": json}
            for place, (id_, json) in enumerate(items[at : at + AT_ONCE], at)
        ]
        await run.execute(insert(object_items), rows)


async def bytes_of_all(run: AsyncConnection) -> int:
    return int(await run.scalar(select(func.sum(object_owners.c.bytes))) or 0)


async def bytes_of_chain(run: AsyncConnection, id_: str) -> int:
    """Return the bytes that stay as long as an object does: its items, and those before them."""
    up = chain(id_)
    links = select(func.sum(objects.c.items_size + OVERHEAD))
    return int(await run.scalar(links.join(up, up.c.id == objects.c.id)) or 0)


def chain(id_: str) -> CTE:
    """Return the rows of an object and of all before it, each with its distance."""
    first = select(objects.c.id, objects.c.parent, literal(0).label("distance"))
    up = first.where(objects.c.id == id_).cte("up", recursive=True)
    above = select(objects.c.id, objects.c.parent, up.c.distance + 1)
    return up.union_all(above.where(objects.c.id == up.c.parent))


async def take(run: AsyncConnection, id_: str) -> int:
    """Take away an object, or leave a link of it; return the bytes that are free."""
    columns = objects.c.parent, objects.c.children, objects.c.size, objects.c.items_size
    row = (await run.execute(select(*columns).where(objects.c.id == id_))).one()
    if row.children:
        size = OVERHEAD + row.items_size
        empty = {"kind": LINK, "status": None, "gateway": None, "body": b"", "log": None}
        await run.execute(update(objects).where(objects.c.id == id_).values(empty | {"size": size}))
        return int(row.size - size)
    await run.execute(delete(objects).where(objects.c.id == id_))
    return int(row.size) + (0 if row.parent is None else await _release(run, row.parent))


async def _release(run: AsyncConnection, id_: str) -> int:
    """Note that one object less follows; return the bytes of links that are needed no more."""
    alone = (objects.c.kind == LINK) & (objects.c.children == 1)
    columns = objects.c.id, objects.c.parent, objects.c.size
    up = select(*columns).where((objects.c.id == id_) & alone).cte("up", recursive=True)
    up = up.union_all(select(*columns).where((objects.c.id == up.c.parent) & alone))
    rows = (await run.execute(select(up))).all()
    ids = {row.id for row in rows}
    last = next((row.parent for row in rows if row.parent not in ids), id_)
    for at in range(0, len(rows), AT_ONCE):
        some = [row.id for row in rows[at : at + AT_ONCE]]
        await run.execute(delete(objects).where(objects.c.id.in_(some)))
    fewer = {"children": objects.c.children - 1}
    await run.execute(update(objects).where(objects.c.id == last).values(fewer))
    return sum(row.size for row in rows)
