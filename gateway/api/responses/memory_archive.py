"""Responses and conversations in this process's memory, bounded in bytes and age."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.api.responses.archive import (
    OVERHEAD,
    Earlier,
    KeptResponse,
    MadeResponse,
    PageOfItems,
    item_list,
    new_conversation,
    no_conversation,
    no_item,
    no_response,
)
from gateway.api.responses.bounded_store import BoundedStore
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.history import ITEM, HistoryLink, Item
from gateway.api.responses.types import ConversationObject, ItemList
from gateway.core.clock import NANO
from gateway.core.errors import QueueFull


@dataclass(slots=True)
class StoredResponse:
    id: str
    made: MadeResponse | None
    """The response, while it may change."""
    link: HistoryLink
    log: EventLog | None
    """Of one in the background."""
    json: bytes = b""
    """The whole, once it is over: as objects it would take many times the bytes counted."""

    @property
    def size(self) -> int:
        """Bytes, without those of the link."""
        return OVERHEAD + len(self.json) + (0 if self.log is None else self.log.size)

    @property
    def working(self) -> bool:
        """Return whether it may still change."""
        return self.made is not None and self.made.working

    def told(self) -> KeptResponse:
        """Return the response as it is now."""
        json = self.json if self.made is None else orjson.dumps(self.made.response)
        return KeptResponse(self.id, json, self.log is not None)

    def freeze(self) -> list[Item]:
        """Note that it will not change any more, and return its output."""
        assert self.made is not None, "it ends once"
        self.json = orjson.dumps(self.made.response)
        output = [dict(item) for item in self.made.response["output"]]
        self.made = None  # with it go the request, its prompt and its tokens
        return output

    def stop(self) -> None:
        """End the work on it, if it goes on."""
        if self.made is not None:
            self.made.stop()


@dataclass(slots=True)
class StoredConversation:
    body: ConversationObject
    items: dict[str, bytes] = field(default_factory=dict)
    """JSON by the items' ids."""
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = OVERHEAD + len(orjson.dumps(self.body))

    def describe(self, metadata: dict[str, str]) -> None:
        """Put other metadata in the place of the older."""
        self.size += len(orjson.dumps(metadata)) - len(orjson.dumps(self.body["metadata"]))
        self.body["metadata"] = metadata

    def add(self, items: Iterable[Item]) -> None:
        """Add items, which have ids; one of a known id takes the older one's place."""
        for item in items:
            self.remove(item["id"])
            self.items[item["id"]] = orjson.dumps(item)
            self.size += ITEM + len(self.items[item["id"]])

    def remove(self, id_: str) -> bool:
        """Take an item away; return whether there was one of this id."""
        item = self.items.pop(id_, None)
        if item is not None:
            self.size -= ITEM + len(item)
        return item is not None


class MemoryArchive:
    """Implements :class:`gateway.api.responses.archive.Archive`."""

    def __init__(self, room: int, age: float, clock_ns: Callable[[], int]) -> None:
        """``room``: bytes; 0: nothing is kept. ``age``: seconds."""
        self.on = room > 0
        self._store: BoundedStore[StoredResponse | StoredConversation] = BoundedStore(
            room, int(age * NANO), clock_ns, self._gone
        )

    async def start(self) -> None:
        """Do nothing: too old values go when the next is asked for."""

    async def stop(self) -> None:
        """Do nothing."""

    # ------------------------------------------------------------------ responses

    async def keep(self, owner: str, made: MadeResponse) -> bool:
        assert made.link is None or isinstance(made.link, HistoryLink)
        link = HistoryLink(made.items, made.link)
        stored = StoredResponse(made.id, made, link, made.log)
        if stored.size + link.whole_size() > self._store.room:
            return False
        self._store.put(owner, stored.id, stored, 0)
        link.hold(lambda more: self._store.charge(owner, more))
        if made.working:
            self._resize(owner, stored)
        else:
            self._freeze(owner, stored)
        return self._store.get(owner, stored.id) is stored

    def grown(self, owner: str, made: MadeResponse) -> None:
        stored = self._made(owner, made)
        if stored is not None:
            self._resize(owner, stored)

    async def ended(self, owner: str, made: MadeResponse) -> None:
        stored = self._made(owner, made)
        if stored is not None:
            self._freeze(owner, stored)

    async def response(self, owner: str, id_: str) -> KeptResponse:
        return self._response(owner, id_).told()

    async def follow(
        self, owner: str, id_: str, after: int, patience: float
    ) -> AsyncIterator[bytes]:
        stored = self._response(owner, id_)
        assert stored.log is not None, "only one in the background is followed"
        return stored.log.follow(after, patience)

    async def cancel(self, owner: str, id_: str) -> KeptResponse:
        stored = self._response(owner, id_)
        stored.stop()
        return stored.told()

    async def delete_response(self, owner: str, id_: str) -> None:
        self._response(owner, id_)
        self._store.remove(owner, id_)

    async def input_items(self, owner: str, id_: str, page: PageOfItems) -> ItemList:
        return listed(self._response(owner, id_).link.brought(), page)

    async def earlier(self, owner: str, id_: str) -> Earlier:
        stored = self._response(owner, id_)
        return Earlier(stored.link.all_items(), stored.link, stored.working)

    async def find(self, owner: str, wanted: set[str]) -> dict[str, Item]:
        found: dict[str, Item] = {}
        missing = set(wanted)
        for value in self._store.values(owner):
            kept = value.items if isinstance(value, StoredConversation) else value.link.items
            for id_ in missing & kept.keys():
                found[id_] = orjson.loads(kept[id_])
                missing.remove(id_)
            if not missing:
                break
        return found

    def _response(self, owner: str, id_: str) -> StoredResponse:
        found = self._store.get(owner, id_)
        if not isinstance(found, StoredResponse):
            raise no_response(id_)
        return found

    def _made(self, owner: str, made: MadeResponse) -> StoredResponse | None:
        """Return what is kept of a response that is at work; None if it has gone."""
        found = self._store.get(owner, made.id)
        return found if isinstance(found, StoredResponse) and found.made is made else None

    def _freeze(self, owner: str, stored: StoredResponse) -> None:
        """Note that a response will not change any more, and link its items."""
        stored.link.extend(stored.freeze(), lambda more: self._store.charge(owner, more))
        self._resize(owner, stored)

    def _resize(self, owner: str, stored: StoredResponse) -> None:
        self._store.resize(owner, stored.id, stored.size)

    # ------------------------------------------------------------------ conversations

    async def begin(
        self, owner: str, items: list[Item], metadata: dict[str, str], now: int
    ) -> ConversationObject:
        made = StoredConversation(new_conversation(metadata, now))
        made.add(items)
        if not self._store.put(owner, made.body["id"], made, made.size):
            raise QueueFull("there is no room for another conversation", retry_after=60)
        return made.body

    async def conversation(self, owner: str, id_: str) -> ConversationObject:
        return self._conversation(owner, id_).body

    async def describe(self, owner: str, id_: str, metadata: dict[str, str]) -> ConversationObject:
        found = self._conversation(owner, id_)
        found.describe(metadata)
        return self._changed(owner, found)

    async def delete_conversation(self, owner: str, id_: str) -> None:
        self._conversation(owner, id_)
        self._store.remove(owner, id_)

    async def all_items(self, owner: str, id_: str) -> list[Item]:
        return [orjson.loads(each) for each in self._conversation(owner, id_).items.values()]

    async def page(self, owner: str, id_: str, page: PageOfItems) -> ItemList:
        return listed(self._conversation(owner, id_).items, page)

    async def item(self, owner: str, id_: str, item_id: str) -> bytes:
        found = self._conversation(owner, id_).items.get(item_id)
        if found is None:
            raise no_item(item_id)
        return found

    async def add(self, owner: str, id_: str, items: list[Item]) -> None:
        found = self._conversation(owner, id_)
        found.add(items)
        self._changed(owner, found)

    async def remove(self, owner: str, id_: str, item_id: str) -> ConversationObject:
        found = self._conversation(owner, id_)
        if not found.remove(item_id):
            raise no_item(item_id)
        return self._changed(owner, found)

    def _conversation(self, owner: str, id_: str) -> StoredConversation:
        found = self._store.get(owner, id_)
        if not isinstance(found, StoredConversation):
            raise no_conversation(id_)
        return found

    def _changed(self, owner: str, conversation: StoredConversation) -> ConversationObject:
        """Note that a conversation has other items or metadata now."""
        self._store.renew(owner, conversation.body["id"], conversation.size)
        return conversation.body

    def _gone(self, owner: str, value: StoredResponse | StoredConversation) -> None:
        if isinstance(value, StoredResponse):
            value.stop()
            value.link.release(lambda more: self._store.charge(owner, more))


def listed(items: Mapping[str, bytes], page: PageOfItems) -> ItemList:
    """Return a page of items, JSON by their ids. Raises NotFound for an unknown ``after``."""
    ids = [*items] if page.order == "asc" else [*items][::-1]
    if page.after is not None:
        if page.after not in items:
            raise no_item(page.after, "after")
        ids = ids[ids.index(page.after) + 1 :]
    return item_list([(id_, items[id_]) for id_ in ids[: page.limit + 1]], page.limit)
