"""The responses and conversations that are kept for their keys."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.api.responses.bounded_store import BoundedStore
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.history import ITEM, HistoryLink, Item
from gateway.api.responses.types import ConversationObject, ResponseObject, Status
from gateway.core.clock import NANO
from gateway.core.errors import NotFound, QueueFull

OVERHEAD = 1024
"""Bytes that a value costs beside what it says, at the least."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(slots=True)
class StoredResponse:
    id: str
    live: ResponseObject | None
    """Its present state, while it may change."""
    link: HistoryLink
    log: EventLog | None = None
    """Of one in the background."""
    stop: Callable[[], None] = _nothing
    """Ends the work, if it goes on."""
    status: Status = "in_progress"
    """Its last state, once it does not change any more."""
    json: bytes = b""
    """The whole, from then on: as objects it would take many times the bytes that are counted."""

    @property
    def size(self) -> int:
        """Bytes, without those of the link."""
        return OVERHEAD + len(self.json) + (0 if self.log is None else self.log.size)

    @property
    def working(self) -> bool:
        """Return whether it may still change."""
        return self.live is not None and self.live["status"] in ("queued", "in_progress")

    def told(self) -> bytes:
        """Return the response as JSON."""
        return self.json if self.live is None else orjson.dumps(self.live)

    def freeze(self) -> list[Item]:
        """Note that it will not change any more, and return its output."""
        assert self.live is not None, "it ends once"
        self.json, self.status = orjson.dumps(self.live), self.live["status"]
        output = [dict(item) for item in self.live["output"]]
        self.live = None
        self.stop = _nothing  # with it go the request, its prompt and its tokens
        return output


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

    def all_items(self) -> list[Item]:
        """Return the items in their order."""
        return [orjson.loads(each) for each in self.items.values()]


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
        if stored.size + stored.link.whole_size() > self._store.room:
            return False
        self._store.put(owner, stored.id, stored, 0)
        stored.link.hold(lambda more: self._store.charge(owner, more))
        self.grown(owner, stored)
        return self._store.get(owner, stored.id) is stored

    def grown(self, owner: str, stored: StoredResponse) -> None:
        """Note that a response or its log has grown."""
        self._store.resize(owner, stored.id, stored.size)

    def ended(self, owner: str, stored: StoredResponse) -> None:
        """Note that a response will not change any more, and link its items."""
        output = stored.freeze()
        if self._store.get(owner, stored.id) is stored:
            stored.link.extend(output, lambda more: self._store.charge(owner, more))
            self.grown(owner, stored)

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

    def find(self, owner: str, wanted: set[str]) -> dict[str, Item]:
        """Return those of an owner's stored items that have one of these ids."""
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
        """Note that a conversation has other items or metadata now."""
        self._store.renew(owner, conversation.body["id"], conversation.size)

    def delete_conversation(self, owner: str, id_: str) -> None:
        """Raises NotFound."""
        self.conversation(owner, id_)
        self._store.remove(owner, id_)

    def _gone(self, owner: str, value: StoredResponse | StoredConversation) -> None:
        if isinstance(value, StoredResponse):
            value.stop()
            value.link.release(lambda more: self._store.charge(owner, more))


def listed(items: Mapping[str, bytes], after: str | None, limit: int, order: str) -> dict[str, Any]:
    """Return a page of items, JSON by their ids, in the dialect's shape.

    Raises NotFound for an unknown ``after``.
    """
    ids = [*items] if order == "asc" else [*items][::-1]
    if after is not None:
        if after not in items:
            raise NotFound(f"there is no item '{after[:64]}'", param="after")
        ids = ids[ids.index(after) + 1 :]
    page = ids[:limit]
    return {
        "object": "list",
        "data": [orjson.loads(items[id_]) for id_ in page],
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
        "has_more": len(ids) > limit,
    }
