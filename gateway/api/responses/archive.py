"""The responses and conversations that are kept for their keys."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.api.responses.bounded_store import BoundedStore
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.history import HistoryLink, Item
from gateway.api.responses.items import size_of
from gateway.api.responses.types import ConversationObject, ResponseObject
from gateway.core.clock import NANO
from gateway.core.errors import NotFound, QueueFull

OVERHEAD = 1024
"""Bytes that a value costs beside what it says, at the least."""


@dataclass(slots=True)
class StoredResponse:
    body: ResponseObject
    """As it is now: it grows where it is still at work."""
    input: list[Item]
    link: HistoryLink
    log: EventLog | None = None
    """Of one in the background."""
    stop: Callable[[], None] = lambda: None
    """Ends the work, if it goes on."""
    base: int = OVERHEAD
    """Bytes without the log, when they were last measured."""

    @property
    def size(self) -> int:
        return self.base + (0 if self.log is None else self.log.size)

    def measure(self) -> int:
        """Return its bytes, counted anew: more than a step's work."""
        self.base = OVERHEAD + len(orjson.dumps(self.body))
        return self.size


@dataclass(slots=True)
class StoredConversation:
    body: ConversationObject
    items: dict[str, Item] = field(default_factory=dict)
    size: int = OVERHEAD

    def add(self, items: Iterable[Item]) -> None:
        """Add items, which have ids; one of a known id takes the older one's place."""
        for item in items:
            self.remove(item["id"])
            self.items[item["id"]] = item
            self.size += size_of([item])

    def remove(self, id_: str) -> Item | None:
        """Take an item away; None if there is none of this id."""
        item = self.items.pop(id_, None)
        if item is not None:
            self.size -= size_of([item])
        return item


class Archive:
    """In memory; another key's are not found."""

    def __init__(self, room: int, age: float, clock_ns: Callable[[], int]) -> None:
        """``room``: bytes; 0: nothing is kept. ``age``: seconds."""
        self.on = room > 0
        self._store: BoundedStore[StoredResponse | StoredConversation] = BoundedStore(
            room, int(age * NANO), clock_ns, self._gone
        )

    # ------------------------------------------------------------------ responses

    def keep(self, owner: str, stored: StoredResponse) -> bool:
        """Keep a response under its id; return whether there was room."""
        id_ = stored.body["id"]
        size = stored.measure()
        if size + stored.link.whole_size() > self._store.room:
            return False
        self._store.put(owner, id_, stored, 0)
        stored.link.hold(lambda more: self._store.charge(owner, more))
        self._store.resize(owner, id_, size)
        return self._store.get(owner, id_) is stored

    def grown(self, owner: str, stored: StoredResponse) -> None:
        """Note that a response's log has grown."""
        self._store.resize(owner, stored.body["id"], stored.size)

    def ended(self, owner: str, stored: StoredResponse) -> None:
        """Note that a response will not change any more, and link its items."""
        self._store.resize(owner, stored.body["id"], stored.measure())
        if self._store.get(owner, stored.body["id"]) is stored:
            items = [dict(item) for item in stored.body["output"]]
            stored.link.extend(items, size_of(items), lambda more: self._store.charge(owner, more))
            self._store.resize(owner, stored.body["id"], stored.size)

    def response(self, owner: str, id_: str) -> StoredResponse:
        """Return a response. Raises NotFound."""
        found = self._store.get(owner, id_)
        if not isinstance(found, StoredResponse):
            raise NotFound(f"there is no response '{id_[:64]}'", param="response_id")
        return found

    def delete_response(self, owner: str, id_: str) -> None:
        """Raises NotFound."""
        self.response(owner, id_)
        self._store.remove(owner, id_)

    def items(self, owner: str) -> dict[str, Item]:
        """Return all stored items of an owner by their ids."""
        found: dict[str, Item] = {}
        for value in reversed(self._store.values(owner)):
            if isinstance(value, StoredResponse):
                found.update((item["id"], item) for item in value.link.items)
            else:
                found.update(value.items)
        return found

    # ------------------------------------------------------------------ conversations

    def new_conversation(
        self, owner: str, items: list[Item], metadata: dict[str, str], now: int
    ) -> StoredConversation:
        """Begin one. Raises QueueFull if there is no room."""
        id_ = f"conv_{secrets.token_hex(12)}"
        made = StoredConversation(
            {"id": id_, "object": "conversation", "created_at": now, "metadata": metadata}
        )
        made.add(items)
        if not self._store.put(owner, id_, made, made.size):
            raise QueueFull("there is no room for another conversation", retry_after=60)
        return made

    def conversation(self, owner: str, id_: str) -> StoredConversation:
        """Raises NotFound."""
        found = self._store.get(owner, id_)
        if not isinstance(found, StoredConversation):
            raise NotFound(f"there is no conversation '{id_[:64]}'", param="conversation")
        return found

    def changed(self, owner: str, conversation: StoredConversation) -> None:
        """Note that a conversation has other items now."""
        self._store.resize(owner, conversation.body["id"], conversation.size)

    def delete_conversation(self, owner: str, id_: str) -> None:
        """Raises NotFound."""
        self.conversation(owner, id_)
        self._store.remove(owner, id_)

    def _gone(self, owner: str, value: StoredResponse | StoredConversation) -> None:
        if isinstance(value, StoredResponse):
            value.stop()
            value.link.release(lambda more: self._store.charge(owner, more))


def listed(items: list[Item], after: str | None, limit: int, order: str) -> dict[str, Any]:
    """Return a page of items in the dialect's shape. Raises NotFound for an unknown ``after``."""
    found = items if order == "asc" else items[::-1]
    if after is not None:
        place = next((at for at, item in enumerate(found) if item["id"] == after), None)
        if place is None:
            raise NotFound(f"there is no item '{after[:64]}'", param="after")
        found = found[place + 1 :]
    page = found[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(found) > limit,
    }
