"""The endpoints of batches."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.api import json_body
from gateway.api.batches.body import BatchBody, seconds
from gateway.api.batches.types import BatchList, BatchObject
from gateway.api.endpoint import Body, Endpoint, EndpointGroup
from gateway.api.files.endpoints import room_of
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.service import Service, trace_of
from gateway.batches.record import BatchRecord, NewBatch
from gateway.core.errors import (
    BadRequest,
    BatchEnded,
    NotFound,
    PriorityNotAllowed,
    QueueFull,
    QuotaExceeded,
    StorageFull,
    StoreOff,
    Unavailable,
)

if TYPE_CHECKING:  # it brings SQLAlchemy, and most servers have no store
    from gateway.batches.runner import BatchRunner

GROUP = "Batches"
ROOT = "/v1/batches"
WHICH = {"batch_id": "A batch's id."}
OF_ALL = EndpointGroup(
    group=GROUP, root=ROOT, failure=ErrorBody, fails=(StoreOff, Unavailable), which=WHICH
)
PURPOSE = "batch"
EXAMPLE = {
    "input_file_id": "file-0123456789abcdef",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


class BatchPage(BaseModel):
    after: str | None = None
    """The id of the batch before the first that is wanted."""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """Most batches of the page."""


class BatchEndpoints:
    """Batches: asked for, told, ended."""

    def __init__(self, service: Service, runner: "Callable[[], BatchRunner]") -> None:
        """``runner`` is asked for while the store is open."""
        self._service, self._runner = service, runner

    def endpoints(self) -> list[Endpoint]:
        one = f"{ROOT}/{{batch_id}}"

        endpoint = OF_ALL.endpoint
        asked = Body(type=BatchBody, example=EXAMPLE)
        making = (NotFound, PriorityNotAllowed, QueueFull, QuotaExceeded, StorageFull)
        return [
            endpoint(ROOT, self.create_batch, BatchObject, *making, method="POST", body=asked),
            endpoint(ROOT, self.batches, BatchList, NotFound, query=BatchPage),
            endpoint(one, self.batch, BatchObject, NotFound),
            endpoint(
                f"{one}/cancel",
                self.cancel_batch,
                BatchObject,
                *(NotFound, BatchEnded, StorageFull),
                method="POST",
            ),
        ]

    async def create_batch(self, request: Request) -> Response:
        """Begin a batch.

        Its file is checked first, and if a line is wrong, none runs. Lines run as the key that asks
        for them, and take the slots that no other request wants.
        """
        store, config, key = self._service.stored(), self._service.config, request.state.key
        raw, _ = await json_body.read(request, config.max_body, config.body_timeout)
        given = self._service.parse_alone(request, BatchBody, raw)
        priority = given.priority(key)
        try:
            file = await store.files.get(key.name, given.input_file_id)
        except NotFound as error:
            raise NotFound(error.message, param="input_file_id") from None
        if file.purpose != PURPOSE:
            message = f"'input_file_id': the file's purpose is '{file.purpose}', not '{PURPOSE}'"
            raise BadRequest(message, param="input_file_id")
        now, trace = int(store.clock()), trace_of(request)
        expiry = given.output_expires_after
        new = NewBatch(
            id=f"batch_{secrets.token_hex(16)}",
            owner=key.name,
            endpoint=given.endpoint,
            completion_window=given.completion_window,
            priority=priority,
            input_file=given.input_file_id,
            output_age=None if expiry is None else expiry.seconds,
            metadata=given.metadata,
            created_at=now,
            expires_at=now + seconds(given.completion_window),
            room=room_of(self._service, key),
            origin="" if trace is None else trace.origin,
        )
        runner = self._runner()
        made = await runner.rows.create(new)
        runner.poke()
        return json_response(batch_object(made))

    async def batches(self, request: Request) -> Response:
        """The key's batches, the newest first."""
        self._service.stored()
        query = read_query(request, BatchPage)
        owner, rows = request.state.key.name, self._runner().rows
        found = await rows.page(owner, query.after, query.limit + 1)
        data = [batch_object(each) for each in found[: query.limit]]
        page: BatchList = {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": len(found) > query.limit,
        }
        return json_response(page)

    async def batch(self, request: Request) -> Response:
        """One batch, as it is now."""
        self._service.stored()
        rows = self._runner().rows
        found = await rows.find(request.state.key.name, request.path_params["batch_id"])
        return json_response(batch_object(found))

    async def cancel_batch(self, request: Request) -> Response:
        """End a batch.

        Lines that run have some seconds to end; all results so far are in its files.
        """
        store, runner = self._service.stored(), self._runner()
        name = request.path_params["batch_id"]
        found = await runner.rows.cancel(request.state.key.name, name, int(store.clock()))
        runner.poke()
        return json_response(batch_object(found))


def batch_object(batch: BatchRecord) -> BatchObject:
    """Return a batch as clients are told of it."""
    errors, tokens = batch.errors, batch.tokens
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": batch.input_file,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file,
        "error_file_id": batch.error_file,
        "created_at": batch.created_at,
        "in_progress_at": batch.in_progress_at,
        "expires_at": batch.expires_at,
        "finalizing_at": batch.finalizing_at,
        "completed_at": batch.completed_at,
        "failed_at": batch.failed_at,
        "expired_at": batch.expired_at,
        "cancelling_at": batch.cancelling_at,
        "cancelled_at": batch.cancelled_at,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        },
        "metadata": batch.metadata,
    }
