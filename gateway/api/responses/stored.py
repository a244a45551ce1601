"""The dialect's endpoints for responses that are stored."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import EVENTS, JSON, Endpoint
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.responses.archive import Archive, KeptResponse, PageOfItems
from gateway.api.responses.endpoints import GROUP, ROOT, STORING
from gateway.api.responses.stream import LogStream
from gateway.api.responses.types import DeletedResponse, ItemList, ResponseEvent, ResponseObject
from gateway.api.service import Service
from gateway.core.errors import BadRequest, NotFound

WHICH = {"response_id": "A response's id."}


class StreamQuery(BaseModel):
    stream: bool | None = None
    """true: the events of a response in the background, from the first, and those to come."""
    starting_after: Annotated[int, Field(ge=0)] | None = None
    """Only events with a larger sequence number."""
    include: list[str] | None = None
    """Accepted: what is stored is told."""
    include_obfuscation: bool | None = None
    """Accepted: nothing is added."""


class PageQuery(BaseModel):
    after: str | None = None
    """The id of the item before the first that is wanted."""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Most items of the page."""
    order: Literal["asc", "desc"] = "desc"
    """desc: the newest first."""
    include: list[str] | None = None
    """Accepted: what is stored is told."""

    def page(self) -> PageOfItems:
        """Return it as the archive reads it."""
        return PageOfItems(self.after, self.limit, self.order)


class StoredResponses:
    """Responses: told again, ended, forgotten."""

    def __init__(self, service: Service, archive: Archive) -> None:
        self._service = service
        self._archive = archive

    def endpoints(self) -> list[Endpoint]:
        one = f"{ROOT}/{{response_id}}"

        def endpoint(path: str, handler: Any, answer: Any, **more: Any) -> Endpoint:
            return Endpoint(
                path=path,
                handler=handler,
                group=GROUP,
                answers={JSON: answer} | more.pop("streams", {}),
                failure=ErrorBody,
                fails=(NotFound, *STORING),
                parameters=WHICH,
                **more,
            )

        events = {EVENTS: ResponseEvent}
        told, items, gone = self.response, self.input_items, self.delete_response
        return [
            endpoint(
                one, told, ResponseObject, streams=events, typed_events=True, query=StreamQuery
            ),
            endpoint(one, gone, DeletedResponse, method="DELETE"),
            endpoint(f"{one}/cancel", self.cancel_response, ResponseObject, method="POST"),
            endpoint(f"{one}/input_items", items, ItemList, query=PageQuery),
        ]

    async def _find(self, request: Request) -> KeptResponse:
        return await self._archive.response(*_named(request))

    async def response(self, request: Request) -> Response:
        """A stored response, as it is now."""
        query = read_query(request, StreamQuery)
        stored = await self._find(request)
        if not query.stream:
            return Response(stored.json, media_type=JSON)
        if not stored.background:
            message = "'stream': only a response in the background can be streamed again"
            raise BadRequest(message, param="stream")
        after = -1 if query.starting_after is None else query.starting_after
        keepalive = self._service.config.keepalive
        return LogStream(await self._archive.follow(*_named(request), after, keepalive))

    async def delete_response(self, request: Request) -> Response:
        """Forget a response; one that is at work is ended."""
        owner, id_ = _named(request)
        await self._archive.delete_response(owner, id_)
        deleted: DeletedResponse = {"id": id_, "object": "response", "deleted": True}
        return json_response(deleted)

    async def cancel_response(self, request: Request) -> Response:
        """End the work on a response in the background."""
        stored = await self._find(request)
        if not stored.background:
            message = "only a response that was made in the background can be cancelled"
            raise BadRequest(message, param="response_id")
        stored = await self._archive.cancel(*_named(request))
        return Response(stored.json, media_type=JSON)

    async def input_items(self, request: Request) -> Response:
        """The items that a response was made of, without those of earlier responses."""
        query = read_query(request, PageQuery)
        return json_response(await self._archive.input_items(*_named(request), query.page()))


def _named(request: Request) -> tuple[str, str]:
    """Return a request's owner and the id of the response that its path names."""
    return request.state.key.name, request.path_params["response_id"]
