"""The dialect's endpoints for conversations: items that are kept under one name."""

import time
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import JSON, Body, Endpoint
from gateway.api.nested import Nested
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.responses.archive import Archive, StoredConversation, listed
from gateway.api.responses.body import InputItem, Metadata
from gateway.api.responses.endpoints import GROUP
from gateway.api.responses.items import as_written, named
from gateway.api.responses.reading import read_body
from gateway.api.responses.stored import PageQuery
from gateway.api.responses.types import ConversationObject, DeletedConversation, ItemList
from gateway.api.service import Service
from gateway.core.errors import BadRequest, NotFound, QueueFull
from gateway.dispatch.ticket import new_name

ROOT = "/v1/conversations"
MAX_ITEMS = 20
"""Most items that are added at once, as in OpenAI's API."""
WHICH = {"conversation_id": "A conversation's id."}
WHICH_ITEM = {**WHICH, "item_id": "An item's id."}
HELLO = {"role": "user", "content": "hello"}

Given = TypeVar("Given", bound=BaseModel)
Items = Annotated[list[InputItem], Field(max_length=MAX_ITEMS, fail_fast=True)]


class ConversationBody(Nested):
    items: Items | None = None
    """The first items."""
    metadata: Metadata | None = None
    """Told again with the conversation."""


class ConversationUpdate(Nested):
    metadata: Metadata
    """In the place of the older."""


class ItemsBody(Nested):
    items: Items
    """Added at the end."""


class Conversations:
    """Conversations: begun, read, changed, forgotten."""

    def __init__(self, service: Service, archive: Archive) -> None:
        self._service = service
        self._archive = archive

    def endpoints(self) -> list[Endpoint]:
        one = f"{ROOT}/{{conversation_id}}"
        item = f"{one}/items/{{item_id}}"
        example = {"items": [HELLO]}
        begun = Body(type=ConversationBody, example=example)
        changed = Body(type=ConversationUpdate, example={"metadata": {"topic": "aging"}})
        added = Body(type=ItemsBody, example=example)

        def endpoint(path: str, handler: Any, answer: Any, **more: Any) -> Endpoint:
            fails = (*more.pop("fails", ()), *([] if path == ROOT else [NotFound]))
            answers = {JSON: answer}
            return Endpoint(
                path=path,
                handler=handler,
                group=GROUP,
                answers=answers,
                failure=ErrorBody,
                fails=fails,
                **more,
            )

        found, items = ConversationObject, ItemList
        ones: dict[str, Any] = {"parameters": WHICH}
        itself: dict[str, Any] = {"parameters": WHICH_ITEM}
        return [
            endpoint(
                ROOT, self.begin_conversation, found, method="POST", body=begun, fails=(QueueFull,)
            ),
            endpoint(one, self.conversation, found, **ones),
            endpoint(one, self.change_conversation, found, method="POST", body=changed, **ones),
            endpoint(one, self.delete_conversation, DeletedConversation, method="DELETE", **ones),
            endpoint(f"{one}/items", self.conversation_items, items, query=PageQuery, **ones),
            endpoint(
                f"{one}/items",
                self.add_conversation_items,
                items,
                method="POST",
                body=added,
                **ones,
            ),
            endpoint(item, self.conversation_item, dict[str, Any], **itself),
            endpoint(item, self.delete_conversation_item, found, method="DELETE", **itself),
        ]

    async def begin_conversation(self, request: Request) -> Response:
        """Begin a conversation.

        It is kept in memory, as long as there is room.
        """
        if not self._archive.on:
            raise BadRequest("this server stores nothing")
        given = await self._read(request, ConversationBody)
        items = named(as_written(given.items or []), new_name())
        made = self._archive.new_conversation(
            request.state.key.name, items, given.metadata or {}, int(time.time())
        )
        return json_response(made.body)

    async def conversation(self, request: Request) -> Response:
        """A conversation, without its items."""
        return json_response(self._find(request).body)

    async def change_conversation(self, request: Request) -> Response:
        """Give a conversation other metadata."""
        given = await self._read(request, ConversationUpdate)
        found = self._find(request)
        found.describe(given.metadata)
        self._archive.changed(request.state.key.name, found)
        return json_response(found.body)

    async def delete_conversation(self, request: Request) -> Response:
        """Forget a conversation and its items; responses that were made of it stay."""
        id_ = self._find(request).body["id"]
        self._archive.delete_conversation(request.state.key.name, id_)
        deleted: DeletedConversation = {
            "id": id_,
            "object": "conversation.deleted",
            "deleted": True,
        }
        return json_response(deleted)

    async def conversation_items(self, request: Request) -> Response:
        """The items of a conversation."""
        query = read_query(request, PageQuery)
        items = self._find(request).items
        return json_response(listed(items, query.after, query.limit, query.order))

    async def add_conversation_items(self, request: Request) -> Response:
        """Add items at the end of a conversation."""
        given = await self._read(request, ItemsBody)
        found = self._find(request)
        items = named(as_written(given.items), new_name())
        found.add(items)
        self._archive.changed(request.state.key.name, found)
        added = {item["id"]: found.items[item["id"]] for item in items}
        return json_response(listed(added, None, MAX_ITEMS, "asc"))

    async def conversation_item(self, request: Request) -> Response:
        """An item of a conversation."""
        id_ = request.path_params["item_id"]
        item = self._find(request).items.get(id_)
        if item is None:
            raise _no_item(id_)
        return Response(item, media_type=JSON)

    async def delete_conversation_item(self, request: Request) -> Response:
        """Take an item out of a conversation."""
        found, id_ = self._find(request), request.path_params["item_id"]
        if not found.remove(id_):
            raise _no_item(id_)
        self._archive.changed(request.state.key.name, found)
        return json_response(found.body)

    def _find(self, request: Request) -> StoredConversation:
        id_ = request.path_params["conversation_id"]
        return self._archive.conversation(request.state.key.name, id_)

    async def _read(self, request: Request, type_: type[Given]) -> Given:
        raw, _ = await read_body(request, self._service.config)
        return self._service.parse_alone(request, type_, raw)


def _no_item(id_: str) -> NotFound:
    return NotFound(f"there is no item '{id_[:64]}'", param="item_id")
