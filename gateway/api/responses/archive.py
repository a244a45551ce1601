"""Responses and conversations that are kept for their keys: the contract of both of their stores.

:mod:`gateway.api.responses.memory_archive` keeps them as long as the process lives,
:mod:`gateway.api.responses.database_archive` in the database of a data folder. Laws of both, held
by the same tests:

- what is kept is found by its owner and id until it is deleted, too old, or evicted; another
  owner's is not found;
- all bytes together never exceed the room after a call has returned; the owner with the most loses
  its oldest first;
- a response is kept with the items that it brought and made. Those of the responses before it stay
  as long as one that follows them does, though they themselves are deleted.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import orjson

from gateway.api.responses.event_log import EventLog
from gateway.api.responses.history import HistoryEnd, Item
from gateway.api.responses.types import ConversationObject, ItemList, ResponseObject, Status
from gateway.core.errors import NotFound

OVERHEAD = 1024
"""Bytes that a value costs beside what it says, at the least."""
WORKING: tuple[Status, ...] = ("queued", "in_progress")
"""States of a response that may still change."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A stored response and all before it, for a request that goes on after them."""

    items: list[Item]
    link: HistoryEnd
    working: bool
    """True: it is not completed yet."""


@dataclass(slots=True)
class MadeResponse:
    """A response for the archive, made or at work, with what it was made of."""

    response: ResponseObject
    """Its present state; it changes while the response is at work."""
    items: list[Item]
    """The input, each item with an id of its own."""
    link: HistoryEnd | None = None
    """The conversation that it follows."""
    log: EventLog | None = None
    """Of one in the background."""
    stop: Callable[[], None] = _nothing
    """Ends the work, if it goes on."""

    @property
    def id(self) -> str:
        return self.response["id"]

    @property
    def working(self) -> bool:
        """Return whether it may still change."""
        return self.response["status"] in WORKING


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response as the archive tells it."""

    id: str
    json: bytes
    background: bool
    """True: it has events that can be followed, and can be cancelled while it is at work."""


@dataclass(frozen=True, slots=True)
class PageOfItems:
    """The part of a list of items that a client wants."""

    after: str | None = None
    """The id of the item before the first."""
    limit: int = 20
    order: Literal["asc", "desc"] = "desc"


class Archive(Protocol):
    """A store of responses and conversations, by owner and id.

    An id that an owner does not have raises NotFound.
    """

    on: bool
    """False: nothing is kept."""

    async def start(self) -> None:
        """Begin to look after what is kept; again, it does nothing."""

    async def stop(self) -> None:
        """Let go of everything; what is at work then has failed."""

    async def keep(self, owner: str, made: MadeResponse) -> bool:
        """Keep a response under its id; return whether there was room."""

    def grown(self, owner: str, made: MadeResponse) -> None:
        """Note that the log of one that is at work has grown."""

    async def ended(self, owner: str, made: MadeResponse) -> None:
        """Note that one that was kept at work will not change any more."""

    async def response(self, owner: str, id_: str) -> KeptResponse:
        """Return a response as it is now."""

    async def follow(
        self, owner: str, id_: str, after: int, patience: float
    ) -> AsyncIterator[bytes]:
        """Return the events of one in the background as :meth:`EventLog.follow` yields them."""

    async def cancel(self, owner: str, id_: str) -> KeptResponse:
        """End the work on one in the background; return what has become of it."""

    async def delete_response(self, owner: str, id_: str) -> None:
        """Forget a response; one that is at work is ended."""

    async def input_items(self, owner: str, id_: str, page: PageOfItems) -> ItemList:
        """Return items that a response brought."""

    async def earlier(self, owner: str, id_: str) -> Earlier:
        """Return a response's items after those of all before it."""

    async def find(self, owner: str, wanted: set[str]) -> dict[str, Item]:
        """Return those of an owner's stored items that have one of these ids."""

    async def begin(
        self, owner: str, items: list[Item], metadata: dict[str, str], now: int
    ) -> ConversationObject:
        """Begin a conversation. Raises QueueFull if there is no room."""

    async def conversation(self, owner: str, id_: str) -> ConversationObject:
        """Return a conversation without its items."""

    async def describe(self, owner: str, id_: str, metadata: dict[str, str]) -> ConversationObject:
        """Put other metadata in the place of the older."""

    async def delete_conversation(self, owner: str, id_: str) -> None:
        """Forget a conversation and its items."""

    async def all_items(self, owner: str, id_: str) -> list[Item]:
        """Return a conversation's items in their order."""

    async def page(self, owner: str, id_: str, page: PageOfItems) -> ItemList:
        """Return items of a conversation."""

    async def item(self, owner: str, id_: str, item_id: str) -> bytes:
        """Return an item of a conversation as JSON."""

    async def add(self, owner: str, id_: str, items: list[Item]) -> None:
        """Add items, which have ids; one of a known id takes the older one's place."""

    async def remove(self, owner: str, id_: str, item_id: str) -> ConversationObject:
        """Take an item out of a conversation."""


def new_conversation(metadata: dict[str, str], now: int) -> ConversationObject:
    """Return a conversation that begins."""
    id_ = f"conv_{secrets.token_hex(12)}"
    return {"id": id_, "object": "conversation", "created_at": now, "metadata": metadata}


def item_list(items: list[tuple[str, bytes]], limit: int) -> ItemList:
    """Return ids and JSON of items in the dialect's shape; beyond ``limit``: there are more."""
    page = items[:limit]
    return {
        "object": "list",
        "data": [orjson.loads(json) for _, json in page],
        "first_id": page[0][0] if page else None,
        "last_id": page[-1][0] if page else None,
        "has_more": len(items) > limit,
    }


def no_response(id_: str) -> NotFound:
    """Return the error about an id that its owner has no response of."""
    return NotFound(f"there is no response '{id_[:64]}'", param="response_id")


def no_conversation(id_: str) -> NotFound:
    """Return the error about an id that its owner has no conversation of."""
    return NotFound(f"there is no conversation '{id_[:64]}'", param="conversation")


def no_item(id_: str, param: str = "item_id") -> NotFound:
    """Return the error about an item that is not there."""
    return NotFound(f"there is no item '{id_[:64]}'", param=param)
