"""OpenAI's Uploads: a file in parts, each of which may be sent again."""

from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import FORM, JSON, Body, Endpoint, Handler
from gateway.api.files.bodies import CompleteBody, PartForm, UploadBody, file_age
from gateway.api.files.endpoints import ADDS, GROUP, STORED, nested, owner, room_of
from gateway.api.files.filename import cleaned
from gateway.api.files.form import FormReader
from gateway.api.files.types import PartObject, UploadObject, part_object, upload_object
from gateway.api.json_body import read
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.errors import NotFound, UploadEnded

ROOT = "/v1/uploads"
WHICH = {"upload_id": "An upload's id."}
MOST_OF_PART = 64 * 1024 * 1024

Given = TypeVar("Given", bound=BaseModel)


class UploadEndpoints:
    """Uploads: begun, added to, completed or cancelled."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        one = f"{ROOT}/{{upload_id}}"
        example = {
            "filename": "a.jsonl",
            "purpose": "batch",
            "bytes": 1000,
            "mime_type": "text/jsonl",
        }
        of_one: dict[str, Any] = {
            "parameters": WHICH,
            "fails": (*STORED, *ADDS, NotFound, UploadEnded),
        }
        return [
            _endpoint(
                ROOT,
                self.create_upload,
                UploadObject,
                body=Body(type=UploadBody, example=example),
                fails=(*STORED, *ADDS),
            ),
            _endpoint(
                f"{one}/parts",
                self.add_part,
                PartObject,
                body=Body(type=PartForm, example={"data": "{}"}, media=FORM),
                **of_one,
            ),
            _endpoint(
                f"{one}/complete",
                self.complete_upload,
                UploadObject,
                body=Body(type=CompleteBody, example={"part_ids": ["part_1", "part_2"]}),
                **of_one,
            ),
            _endpoint(f"{one}/cancel", self.cancel_upload, UploadObject, **of_one),
        ]

    async def create_upload(self, request: Request) -> Response:
        """Begin a file that comes in parts. Its parts are kept for a day."""
        store = self._service.stored()
        given, key = await self._read(request, UploadBody), owner(request)
        upload = await store.uploads.create(
            key.name,
            given.purpose,
            cleaned(given.filename),
            given.bytes,
            file_age(given.purpose, given.expires_after),
            room_of(self._service, key),
        )
        return json_response(upload_object(upload))

    async def add_part(self, request: Request) -> Response:
        """Add a part, in any order and beside others; one that broke off is sent again."""
        store, key, id_ = self._service.stored(), owner(request), request.path_params["upload_id"]
        await store.uploads.pending(key.name, id_)
        room = room_of(self._service, key)
        config = self._service.config
        most = min(MOST_OF_PART, config.max_file)
        form = FormReader("data", lambda: store.files.receive(key.name, room, most), _any)
        received = await form.read(request, most, config.body_timeout)
        try:
            raw = nested({**received.fields, "data": received.filename})
            self._service.parse_alone(request, PartForm, raw)
            blob = await received.file.commit()
        finally:
            await received.file.abort()  # nothing, after a commit
        return json_response(part_object(await store.uploads.add_part(key.name, id_, blob, room)))

    async def complete_upload(self, request: Request) -> Response:
        """Make the file of its parts. They must have the bytes that were announced."""
        store, id_ = self._service.stored(), request.path_params["upload_id"]
        given = await self._read(request, CompleteBody)
        name = owner(request).name
        upload, file = await store.uploads.complete(name, id_, given.part_ids, given.md5)
        return json_response(upload_object(upload, file))

    async def cancel_upload(self, request: Request) -> Response:
        """Forget the parts of an upload."""
        store, id_ = self._service.stored(), request.path_params["upload_id"]
        return json_response(upload_object(await store.uploads.cancel(owner(request).name, id_)))

    async def _read(self, request: Request, type_: type[Given]) -> Given:
        config = self._service.config
        raw, _ = await read(request, config.max_body, config.body_timeout)
        return self._service.parse_alone(request, type_, raw)


def _endpoint(path: str, handler: Handler, answer: Any, **more: Any) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method="POST",
        group=GROUP,
        answers={JSON: answer},
        failure=ErrorBody,
        **more,
    )


def _any(name: str, value: str) -> None:
    """Other fields of a part are told or refused later, as those of all bodies."""
