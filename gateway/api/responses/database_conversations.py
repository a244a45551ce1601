"""Conversations in the database of a data folder."""

from collections.abc import Coroutine
from typing import Any

import orjson

from gateway.api.responses.archive import (
    PageOfItems,
    item_list,
    new_conversation,
    no_conversation,
    no_item,
)
from gateway.api.responses.database_rows import key, may_be, read, written
from gateway.api.responses.history import Item
from gateway.api.responses.types import ConversationObject, ItemList
from gateway.api.responses.work_here import WorkHere
from gateway.core.errors import NotFound, QueueFull
from gateway.stored.object_rows import CONVERSATION
from gateway.stored.objects import Objects, StoredObject
from gateway.stored.stored_items import ItemsPart, NoItem, StoredItems


class DatabaseConversations:
    """The part of an :class:`gateway.api.responses.archive.Archive` that is about conversations."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._items = StoredItems(objects)
        self._work = WorkHere()

    async def begin(
        self, owner: str, items: list[Item], metadata: dict[str, str], now: int
    ) -> ConversationObject:
        made = new_conversation(metadata, now)
        row = StoredObject(made["id"], CONVERSATION, orjson.dumps(made))
        gone = await self._work.whole(self._objects.insert(owner, row, written(items)))
        if gone is None:
            raise QueueFull("there is no room for another conversation", retry_after=60)
        self._work.forget(gone)
        return made

    async def conversation(self, owner: str, id_: str) -> ConversationObject:
        found = await self._objects.get(owner, id_, CONVERSATION) if may_be(id_) else None
        if found is None:
            raise no_conversation(id_)
        body: ConversationObject = orjson.loads(found.body)
        return body

    async def describe(self, owner: str, id_: str, metadata: dict[str, str]) -> ConversationObject:
        body = await self.conversation(owner, id_)
        body["metadata"] = metadata
        await self._changed(id_, self._items.describe(owner, id_, orjson.dumps(body)))
        return body

    async def delete_conversation(self, owner: str, id_: str) -> None:
        deleting = self._objects.delete(owner, id_, CONVERSATION) if may_be(id_) else None
        if deleting is None or not await self._work.whole(deleting):
            raise no_conversation(id_)

    async def all_items(self, owner: str, id_: str) -> list[Item]:
        found = await self._items.all(owner, id_) if may_be(id_) else None
        if found is None:
            raise no_conversation(id_)
        return read(found)

    async def page(self, owner: str, id_: str, page: PageOfItems) -> ItemList:
        return await self._part(owner, id_, CONVERSATION, page, no_conversation(id_))

    async def item(self, owner: str, id_: str, item_id: str) -> bytes:
        try:
            found = await self._items.one(owner, id_, key(item_id)) if may_be(id_) else None
        except NoItem:
            raise no_item(item_id) from None
        if found is None:
            raise no_conversation(id_)
        return found

    async def add(self, owner: str, id_: str, items: list[Item]) -> None:
        if not may_be(id_):
            raise no_conversation(id_)
        await self._changed(id_, self._items.add(owner, id_, written(items)))

    async def remove(self, owner: str, id_: str, item_id: str) -> ConversationObject:
        body = await self.conversation(owner, id_)
        try:
            await self._changed(id_, self._items.remove(owner, id_, key(item_id)))
        except NoItem:
            raise no_item(item_id) from None
        return body

    async def _changed(self, id_: str, change: Coroutine[Any, Any, list[str] | None]) -> None:
        """Write a change of a conversation. Raises NotFound if it is not there."""
        gone = await self._work.whole(change)
        if gone is None:
            raise no_conversation(id_)
        self._work.forget(gone)

    async def _part(
        self, owner: str, id_: str, kind: str, page: PageOfItems, missing: NotFound
    ) -> ItemList:
        after = None if page.after is None else key(page.after)
        part = ItemsPart(after, page.limit + 1, page.order == "asc")
        try:
            found = await self._items.part(owner, id_, kind, part) if may_be(id_) else None
        except NoItem:
            raise no_item(page.after or "", "after") from None
        if found is None:
            raise missing
        return item_list([(item.decode(), json) for item, json in found], page.limit)
