"""Stored files that a request mentions: their texts take the place of their ids.

OpenAI's clients upload a file for the purpose `user_data`, and name its id in a part of a message.
Before a body is read, such parts become what they would be with the content in them, so all that is
true of a part with `file_data` is true of them. A file that is no text stays as it is, and is
refused or stands as a text like any other.
"""

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from gateway.api.service import Service
from gateway.core.errors import BadRequest, FileTooLarge, ForgeError, NotFound
from gateway.stored.blobs import BlobMissing

if TYPE_CHECKING:  # it brings SQLAlchemy, and most servers have no store
    from gateway.stored.files import StoredFile
    from gateway.stored.store import Store

MOST = 64
"""Files that a request may mention, one that it mentions twice counted twice."""
CONVERSATIONS = ("messages", "input")
PARTS = ("content", "output")
PREFIX = "data:text/plain;base64,"

MENTIONING: tuple[type[ForgeError], ...] = (NotFound, FileTooLarge)
"""Errors of a request that may mention files."""

Object = dict[str, Any]
Path = tuple[str | int, ...]


async def with_files(service: Service, request: Request, raw: Object) -> int:
    """Put the texts of mentioned files into a body; return the bytes that were added.

    Raises NotFound, BadRequest or FileTooLarge, each with the place of the mention. On a server
    without a store nothing is mentioned.
    """
    if service.store is None or not service.store.is_open:
        return 0
    added = 0
    for count, (holder, path) in enumerate(_mentions(raw), 1):
        param = ".".join(map(str, path))
        if count > MOST:
            raise BadRequest(f"'{param}': a request may mention {MOST} files", param=param)
        file = await find_file(service.store, request, holder["file_id"], param)
        added += file.bytes
        if added > service.config.max_body:
            most = service.config.max_body
            message = f"'{param}': the files of a request may have {most} bytes in all"
            raise FileTooLarge(message, param=param)
        text = await _text(service.store, file, param)
        if text is not None:
            _put(holder, file.filename, text)
    return added


def _mentions(raw: Object) -> Iterator[tuple[Object, Path]]:
    """Yield what holds the id of a file, and the id's place in the body."""
    for name in CONVERSATIONS:
        for at, message in _objects(raw.get(name)):
            for part, path in _parts(message, (name, at)):
                holder, inside = _holder(part)
                if holder is not None and isinstance(holder.get("file_id"), str):
                    yield holder, (*path, *inside, "file_id")


def _parts(message: Object, path: Path) -> Iterator[tuple[Object, Path]]:
    """Yield the parts of a message, and those of tools' results in it."""
    for name in PARTS:
        for at, part in _objects(message.get(name)):
            yield part, (*path, name, at)
            if part.get("type") == "tool_result":
                yield from _parts(part, (*path, name, at))


def _objects(value: Any) -> Iterator[tuple[int, Object]]:
    for at, each in enumerate(value if isinstance(value, list) else ()):
        if isinstance(each, dict):
            yield at, each


def _holder(part: Object) -> tuple[Object | None, Path]:
    """Return the object with the id, and its place in the part: each dialect has another."""
    kind = part.get("type")
    if kind == "input_file":
        return part, ()
    inner = {"file": "file", "document": "source"}.get(str(kind))
    found = part.get(inner) if inner is not None else None
    return (found, (str(inner),)) if isinstance(found, dict) else (None, ())


async def find_file(store: "Store", request: Request, id_: str, param: str) -> "StoredFile":
    """Return a file of the request's key. Raises NotFound, which names ``param``."""
    try:
        return await store.files.get(request.state.key.name, id_)
    except NotFound as error:
        raise NotFound(f"'{param}': {error.message}", param=param) from None


async def _text(store: "Store", file: "StoredFile", param: str) -> str | None:
    """Return what a file says; None if it is no text in UTF-8."""
    try:
        data = b"".join([piece async for piece in store.blobs.read(file.blob)])
    except BlobMissing:
        raise NotFound(f"'{param}': the file was deleted", param=param) from None
    try:
        return None if b"\x00" in data else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _put(holder: Object, filename: str, text: str) -> None:
    del holder["file_id"]
    if holder.get("type") == "file":  # Anthropic's source
        holder |= {"type": "text", "media_type": "text/plain", "data": text}
    else:
        holder["file_data"] = PREFIX + base64.b64encode(text.encode()).decode()
    holder.setdefault("filename", filename)
