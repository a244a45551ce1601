"""The dialect's endpoints for conversations: items that are kept under one name."""

import time
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import JSON, Body, Endpoint
from gateway.api.nested import Nested
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.responses.archive import Archive, item_list
from gateway.api.responses.body import InputItem, Metadata
from gateway.api.responses.endpoints import GROUP, STORING
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
            missing = [] if path == ROOT else [NotFound]
            fails = (*more.pop("fails", ()), *missing, *STORING)
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

        It is kept as long as there is room.
        """
        if not self._archive.on:
            raise BadRequest("this server stores nothing")
        given = await self._read(request, ConversationBody)
        items = named(as_written(given.items or []), new_name())
        made = await self._archive.begin(
            request.state.key.name, items, given.metadata or {}, int(time.time())
        )
        return json_response(made)

    async def conversation(self, request: Request) -> Response:
        """A conversation, without its items."""
        return json_response(await self._archive.conversation(*_named(request)))

    async def change_conversation(self, request: Request) -> Response:
        """Give a conversation other metadata."""
        given = await self._read(request, ConversationUpdate)
        return json_response(await self._archive.describe(*_named(request), given.metadata))

    async def delete_conversation(self, request: Request) -> Response:
        """Forget a conversation and its items; responses that were made of it stay."""
        owner, id_ = _named(request)
        await self._archive.delete_conversation(owner, id_)
        deleted: DeletedConversation = {
            "id": id_,
            "object": "conversation.deleted",
            "deleted": True,
        }
        return json_response(deleted)

    async def conversation_items(self, request: Request) -> Response:
        """The items of a conversation."""
        query = read_query(request, PageQuery)
        return json_response(await self._archive.page(*_named(request), query.page()))

    async def add_conversation_items(self, request: Request) -> Response:
        """Add items at the end of a conversation."""
        given = await self._read(request, ItemsBody)
        items = named(as_written(given.items), new_name())
        await self._archive.add(*_named(request), items)
        added = [(item["id"], orjson.dumps(item)) for item in items]
        return json_response(item_list(added, MAX_ITEMS))

    async def conversation_item(self, request: Request) -> Response:
        """An item of a conversation."""
        item = await self._archive.item(*_named(request), request.path_params["item_id"])
        return Response(item, media_type=JSON)

    async def delete_conversation_item(self, request: Request) -> Response:
        """Take an item out of a conversation."""
        item = request.path_params["item_id"]
        return json_response(await self._archive.remove(*_named(request), item))

    async def _read(self, request: Request, type_: type[Given]) -> Given:
        raw, _ = await read_body(request, self._service)
        return self._service.parse_alone(request, type_, raw)


def _named(request: Request) -> tuple[str, str]:
    """Return a request's owner and the id of the conversation that its path names."""
    return request.state.key.name, request.path_params["conversation_id"]
