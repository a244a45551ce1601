"""OpenAI's Files: kept for their keys, streamed in and out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.api.endpoint import BYTES, FORM, JSON, Body, Endpoint, Handler
from gateway.api.files.bodies import FileForm, check_purpose, file_age
from gateway.api.files.filename import attachment
from gateway.api.files.form import FormReader
from gateway.api.files.ranges import content_range, wanted
from gateway.api.files.types import DeletedFile, FileList, FileObject, file_object
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.api_key import ApiKey
from gateway.core.errors import (
    BadRequest,
    FileTooLarge,
    ForgeError,
    NotFound,
    QueueFull,
    QuotaExceeded,
    RangeNotSatisfiable,
    StorageFull,
    StoreOff,
    Unavailable,
)
from gateway.stored.blobs import BlobMissing

if TYPE_CHECKING:
    from gateway.stored.files import StoredFile
    from gateway.stored.store import Store

ROOT = "/v1/files"
GROUP = "Files"
WHICH = {"file_id": "A file's id."}
STORED: tuple[type[ForgeError], ...] = (StoreOff, Unavailable)
"""Errors of everything that is about the store."""
ADDS: tuple[type[ForgeError], ...] = (QuotaExceeded, FileTooLarge, QueueFull, StorageFull)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-store",
}
"""Of a content, which is a client's: no browser may take it for a page of this server."""


class FileQuery(BaseModel):
    purpose: Annotated[str, Field(max_length=64)] | None = None
    """Only files of this purpose."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """Most files of the page."""
    order: Literal["asc", "desc"] = "desc"
    """desc: the newest first."""
    after: str | None = None
    """The id of the file before the first that is wanted."""


class FileEndpoints:
    """Files: taken, listed, given back, deleted."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        one = f"{ROOT}/{{file_id}}"
        example = {"file": '{"custom_id": "1"}', "purpose": "batch"}
        return [
            _endpoint(
                ROOT,
                self.create_file,
                FileObject,
                method="POST",
                body=Body(type=FileForm, example=example, media=FORM),
                fails=(*STORED, *ADDS),
            ),
            _endpoint(ROOT, self.files, FileList, query=FileQuery, fails=(*STORED, NotFound)),
            _endpoint(one, self.file, FileObject, **_ONE),
            _endpoint(one, self.delete_file, DeletedFile, method="DELETE", **_ONE),
            Endpoint(
                path=f"{one}/content",
                handler=self.file_content,
                group=GROUP,
                answers={BYTES: bytes},
                failure=ErrorBody,
                parameters=WHICH,
                fails=(*STORED, NotFound, QueueFull, RangeNotSatisfiable),
                parts=True,
            ),
        ]

    async def create_file(self, request: Request) -> Response:
        """Upload a file.

        It is written to the store as it comes, up to `--max-file` bytes; it is there once it is
        answered, whole, and nothing is left of an upload that broke off.
        """
        store, key = self._service.stored(), owner(request)
        room = self._room(key)
        form = FormReader("file", lambda: store.files.receive(key.name, room), _check)
        config = self._service.config
        received = await form.read(request, config.max_file, config.body_timeout)
        try:
            raw = nested({**received.fields, "file": received.filename})
            given = self._service.parse_alone(request, FileForm, raw)
            blob = await received.file.commit()
        finally:
            await received.file.abort()  # nothing, after a commit
        age = file_age(given.purpose, given.expires_after)
        file = await store.files.keep(key.name, blob, given.purpose, received.filename, age, room)
        return json_response(file_object(file))

    async def files(self, request: Request) -> Response:
        """The files of the key."""
        store = self._service.stored()
        query = read_query(request, FileQuery)
        found, more = await store.files.list(
            owner(request).name, query.purpose, query.after, query.limit, query.order
        )
        # Ten thousand take tens of milliseconds, for which other clients' tokens would wait.
        return await asyncio.to_thread(_listing, found, more)

    async def file(self, request: Request) -> Response:
        """A file, without its content."""
        _, file = await self._find(request)
        return json_response(file_object(file))

    async def delete_file(self, request: Request) -> Response:
        """Delete a file; a batch that has read it goes on."""
        store, id_ = self._service.stored(), request.path_params["file_id"]
        await store.files.delete(owner(request).name, id_)
        deleted: DeletedFile = {"id": id_, "object": "file", "deleted": True}
        return json_response(deleted)

    async def file_content(self, request: Request) -> Response:
        """The bytes of a file, as an attachment.

        With the header Range a part of them, so that a download that broke off can go on: the file
        of an id never changes.
        """
        store, file = await self._find(request)
        tag = f'"{file.id}"'
        headers = {
            **HEADERS,
            "Content-Disposition": attachment(file.filename),
            "Accept-Ranges": "bytes",
            "ETag": tag,
        }
        if request.method == "HEAD":
            return Response(headers=headers | _length(file.bytes), media_type=BYTES)
        given = request.headers
        part = wanted(given.get("range"), given.get("if-range"), tag, file.bytes)
        name, leaving = owner(request).name, store.files.leaving
        with contextlib.ExitStack() as counted:
            leaving.begin(name)
            counted.callback(leaving.end, name)
            bounds = range(file.bytes) if part is None else part
            content = await _begun(store, file, bounds)
            headers |= _length(len(bounds))
            if part is not None:
                headers["Content-Range"] = content_range(part, file.bytes)
            status = 200 if part is None else 206
            return FileContent(content, status, headers, counted.pop_all().close)

    async def _find(self, request: Request) -> "tuple[Store, StoredFile]":
        store = self._service.stored()
        return store, await store.files.get(owner(request).name, request.path_params["file_id"])

    def _room(self, key: ApiKey) -> int:
        return room_of(self._service, key)


_ONE: dict[str, Any] = {"parameters": WHICH, "fails": (*STORED, NotFound)}


def _listing(found: "Sequence[StoredFile]", more: bool) -> Response:
    """Return the answer with these files."""
    data = [file_object(each) for each in found]
    listed: FileList = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": more,
    }
    return json_response(listed)


def _endpoint(path: str, handler: Handler, answer: Any, **more: Any) -> Endpoint:
    return Endpoint(
        path=path, handler=handler, group=GROUP, answers={JSON: answer}, failure=ErrorBody, **more
    )


def owner(request: Request) -> ApiKey:
    """Return the key whose files a request is about."""
    key: ApiKey = request.state.key
    return key


def room_of(service: Service, key: ApiKey) -> int:
    """Return the bytes that a key may keep in all."""
    own = key.max_stored_bytes
    return service.config.max_stored_bytes if own is None else own


def nested(fields: dict[str, str]) -> dict[str, Any]:
    """Return a form's fields with ``name[key]`` as objects. Raises BadRequest."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        outer, bracket, rest = name.partition("[")
        if not bracket or not rest.endswith("]"):
            found[name] = value
            continue
        inside = found.setdefault(outer, {})
        if not isinstance(inside, dict):
            raise BadRequest(f"'{outer}' is a text and an object", param=outer)
        inside[rest[:-1]] = value
    return found


def _check(name: str, value: str) -> None:
    if name == "purpose":
        check_purpose(value)


def _length(size: int) -> dict[str, str]:
    return {"Content-Length": str(size)}


async def _begun(store: "Store", file: "StoredFile", part: range) -> AsyncIterator[bytes]:
    """Return some content, of which the first piece is here. Raises NotFound if it is lost."""
    pieces = store.blobs.read(file.blob, part.start, len(part))
    try:
        first = await anext(pieces, b"")
    except BlobMissing:
        raise NotFound("the content of this file is lost", param="file_id") from None

    async def all_of_it() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return all_of_it()


class FileContent(StreamingResponse):
    """A content on its way."""

    def __init__(
        self,
        content: AsyncIterator[bytes],
        status: int,
        headers: dict[str, str],
        done: Callable[[], None],
    ) -> None:
        """``done`` is called at the end, whatever it is."""
        super().__init__(content, status, headers, media_type=BYTES)
        self._done = done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._done()
