"""The endpoints of captures."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, cast

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import check_admin
from gateway.api.captures.types import (
    CaptureHead,
    CaptureList,
    CaptureObject,
    DeletedCapture,
    DeletedCaptures,
)
from gateway.api.endpoint import Endpoint, EndpointGroup
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.errors import AdminOnly, BadRequest, NotFound, StorageFull, StoreOff, Unavailable
from gateway.dispatch.outcome import Outcome

if TYPE_CHECKING:  # they bring SQLAlchemy, and most servers have no store
    from gateway.stored.captures import CaptureFilter, StoredCapture, StoredCaptures

GROUP = "Captures"
ROOT = "/captures"
WHICH = {"capture_id": "A capture's id."}
OF_ALL = EndpointGroup(
    group=GROUP, root=ROOT, failure=ErrorBody, fails=(AdminOnly, StoreOff, Unavailable), which=WHICH
)
WHAT = "read or delete captures"


class CaptureChoice(BaseModel):
    key: Annotated[str, Field(max_length=64)] | None = None
    """The name of an API key: only its captures."""
    model: Annotated[str, Field(max_length=256)] | None = None
    """The name of a model: only its captures."""
    status: Annotated[str, Field(pattern=r"^(0|[1-5][0-9][0-9]|[1-5]xx)$")] | None = None
    """A status of HTTP, or a class of them such as 5xx."""
    outcome: Outcome | None = None
    """The end of the request: only captures of those that ended so."""

    def filter(self) -> "CaptureFilter":
        """Return it as the store reads it."""
        from gateway.stored.captures import CaptureFilter

        statuses = None
        if self.status is not None:
            first = int(self.status.replace("xx", "00"))
            statuses = first, first + (99 if self.status.endswith("xx") else 0)
        return CaptureFilter(self.key, self.model, statuses, self.outcome)


class CapturePage(CaptureChoice):
    after: str | None = None
    """The id of the capture before the first that is wanted."""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Most captures of the page."""


class CaptureEndpoints:
    """Captures: told, and deleted. No key but an admin's may do so, not even with its own."""

    def __init__(self, service: Service, captures: "Callable[[], StoredCaptures]") -> None:
        """``captures`` is asked for while the store is open."""
        self._service, self._captures = service, captures

    def endpoints(self) -> list[Endpoint]:
        one = f"{ROOT}/{{capture_id}}"

        endpoint = OF_ALL.endpoint
        deleted = (DeletedCaptures, StorageFull)
        return [
            endpoint(ROOT, self.captures, CaptureList, NotFound, query=CapturePage),
            endpoint(ROOT, self.delete_captures, *deleted, method="DELETE", query=CaptureChoice),
            endpoint(one, self.capture, CaptureObject, NotFound),
            endpoint(
                one, self.delete_capture, DeletedCapture, NotFound, StorageFull, method="DELETE"
            ),
        ]

    def _allowed(self, request: Request) -> "StoredCaptures":
        """Raises AdminOnly or StoreOff."""
        check_admin(request, WHAT)
        if self._service.store is None:
            raise StoreOff("this server keeps no captures: start it with --data-dir FOLDER")
        self._service.store.check()
        return self._captures()

    async def captures(self, request: Request) -> Response:
        """Return the captures, the newest first, without the two bodies.

        They are requests with their answers that were kept for debugging: those of keys with
        `capture = "always"`, and those that said `X-Capture: 1` with a key that may. The key must
        be an admin's.
        """
        rows = self._allowed(request)
        query = read_query(request, CapturePage)
        found, more = await rows.page(query.filter(), query.after, query.limit)
        page: CaptureList = {
            "object": "list",
            "data": [capture_head(each) for each in found],
            "has_more": more,
        }
        return json_response(page)

    async def capture(self, request: Request) -> Response:
        """Return a capture, with the body of the request and the answer.

        The key must be an admin's.
        """
        found = await self._allowed(request).get(request.path_params["capture_id"])
        return json_response(await asyncio.to_thread(capture_object, found))

    async def delete_capture(self, request: Request) -> Response:
        """Delete a capture.

        The key must be an admin's.
        """
        id_ = request.path_params["capture_id"]
        await self._allowed(request).delete(id_)
        answer: DeletedCapture = {"id": id_, "object": "capture", "deleted": True}
        return json_response(answer)

    async def delete_captures(self, request: Request) -> Response:
        """Delete all captures, or those that the query names.

        The key must be an admin's.
        """
        rows = self._allowed(request)
        for name in request.query_params:
            if name not in CaptureChoice.model_fields:  # misspelt, it would delete all
                raise BadRequest(f"'{name}': there is no such filter", param=name)
        number = await rows.delete_all(read_query(request, CaptureChoice).filter())
        answer: DeletedCaptures = {"object": "captures", "deleted": number}
        return json_response(answer)


def capture_head(row: "StoredCapture") -> CaptureHead:
    """Return a capture as lists have it."""
    head = {
        "id": row.id,
        "object": "capture",
        "key": row.owner,
        "model": row.model,
        "status": row.status,
        "outcome": row.outcome,
        **orjson.loads(row.facts),
    }
    return cast("CaptureHead", head)  # as it was written


def capture_object(row: "StoredCapture") -> CaptureObject:
    """Return a capture with its bodies."""
    from gateway.capture.pieces import texts

    head = capture_head(row)
    return {
        **head,
        "request": row.request.decode("utf-8", "replace"),
        "answer": row.answer.decode("utf-8", "replace"),
        "texts": [
            {"name": name, "text": text} for name, text in texts(row.answer, head["content_type"])
        ],
    }
