"""Pictures and sound of a conversation: from the places where they are to the bytes of a prompt.

A dialect's parser has left a source in each message that has media which its model takes
(:mod:`gateway.conversation.rendering`). Here they are read, in their order: decoded from base64,
taken from the key's own stored files, or fetched where the operator has named the host.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from gateway.api.mentioned_files import find_file
from gateway.api.reply import unless_hung_up
from gateway.api.service import Service
from gateway.conversation import MediaOrigin
from gateway.core.errors import BodyTooLarge, InvalidMedia, NotFound
from gateway.media import base64_text, formats
from gateway.media.base64_text import NotBase64
from gateway.media.fetching import NotFetched, fetch
from gateway.media.hosts import NoAddress, allowed
from gateway.media.lifting import LiftedTexts
from gateway.media.room import MediaLease
from gateway.stored.blobs import BlobMissing
from workers.protocol import MEDIUM, Chat, Medium

FETCHING_S = 60.0
"""For all addresses of a request."""

MEDIA: tuple[type[InvalidMedia], ...] = (InvalidMedia,)
"""Errors of a request that may bring media."""


async def with_media(service: Service, request: Request, chat: Chat) -> tuple[Chat, int]:
    """Return a conversation with the bytes of its media.

    And how many bytes more than its body it has then; fewer, if they came in the body as base64.
    Raises InvalidMedia or BodyTooLarge with the field that is to blame, NotFound for a file.
    """
    lifted: LiftedTexts | None = getattr(request.state, "lifted", None)
    sources = [part["source"] for part in _media_parts(chat)]
    if not sources:
        if lifted is not None:
            lifted.check(service.config.max_body)
        return chat, 0
    reading = _Reading(service, request, lifted or LiftedTexts())
    work = reading.all(sources)
    if any(_is_address(each.value) for each in sources):
        await unless_hung_up(request.receive, work)
    else:
        await work
    if lifted is not None:
        lifted.check(service.config.max_body)
    messages = [_placed(message, reading.places) for message in chat.messages]
    found = msgspec.structs.replace(chat, messages=messages, media=reading.media)
    return found, sum(len(each.data) for each in reading.media) - reading.inline


def _media_parts(chat: Chat) -> list[dict[str, Any]]:
    return [
        part
        for message in chat.messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == MEDIUM
    ]


def _placed(message: dict[str, Any], places: dict[str, int]) -> dict[str, Any]:
    """Return a message whose parts say at which place of the media theirs is."""
    content = message["content"]
    if not isinstance(content, list):
        return message
    parts = [
        {"type": MEDIUM, "at": places[part["source"].value]} if part["type"] == MEDIUM else part
        for part in content
    ]
    return {**message, "content": parts}


def _is_address(value: str) -> bool:
    return value[:8].lower().startswith(("http://", "https://"))


@dataclass(slots=True)
class _Found:
    """A file, before it is known to be a picture or a sound."""

    data: bytes
    inline: int = 0
    """Bytes of the body that it took."""


class _Reading:
    """Reads the media of one request."""

    def __init__(self, service: Service, request: Request, lifted: LiftedTexts) -> None:
        self._service = service
        self._config = service.config
        self._request = request
        self._lifted = lifted
        self._left = self._config.max_media
        self.media: list[Medium] = []
        self.places: dict[str, int] = {}
        """Places among the media, by what the client wrote: one that is said twice is read once."""
        self.inline = 0
        """Bytes of the body's JSON that they took."""

    async def all(self, sources: list[MediaOrigin]) -> None:
        """Read all. Raises InvalidMedia, BodyTooLarge or NotFound."""
        most = self._config.media_number
        if len(sources) > most:
            field = sources[most].field
            message = f"'{field}': a request may have {most} pictures and sounds (--media-number)"
            raise InvalidMedia(message, param=field)
        deadline = asyncio.get_running_loop().time() + FETCHING_S
        for source in sources:
            if source.value not in self.places:
                await self._read(source, deadline)

    async def _read(self, source: MediaOrigin, deadline: float) -> None:
        lease: MediaLease | None = getattr(self._request.state, "media_lease", None)
        found = await self._found(source, deadline)
        fault = formats.fault(found.data, source.sense)
        if fault is not None:
            raise _invalid(source, fault)
        self._take(len(found.data), source)
        if lease is not None and not found.inline:
            lease.add(len(found.data))
        self.inline += found.inline
        digest = await base64_text.digest(found.data)
        self.places[source.value] = len(self.media)
        self.media.append(Medium(source.sense, found.data, digest, source.field))

    async def _found(self, source: MediaOrigin, deadline: float) -> _Found:
        if source.stored:
            return await self._stored(source)
        if _is_address(source.value):
            return await self._fetched(source, deadline)
        if source.value[:7].lower() == "file://":
            raise _invalid(source, "files of the server's own are not read")
        return await self._decoded(source)

    def _take(self, size: int, source: MediaOrigin) -> None:
        """Note that so many bytes are taken. Raises BodyTooLarge."""
        self._left -= size
        if self._left < 0:
            most = self._config.max_media
            message = (
                f"'{source.field}': the pictures and sounds of a request may have {most} bytes in "
                "all (--max-media)"
            )
            raise BodyTooLarge(message, param=source.field)

    async def _decoded(self, source: MediaOrigin) -> _Found:
        text = self._lifted.take(source.value)
        inline = len(source.value)
        if text is None:
            text = memoryview(source.value.encode("utf-8", "replace"))
        try:
            body = base64_text.body_of(text)
            if base64_text.most_bytes(body) > self._left + 2:
                self._take(self._left + 1, source)
            return _Found(await base64_text.decoded(body), inline)
        except NotBase64 as error:
            raise _invalid(source, str(error)) from None

    async def _fetched(self, source: MediaOrigin, deadline: float) -> _Found:
        service = self._service
        try:
            address = allowed(source.value, self._config.media_hosts)
            async with asyncio.timeout_at(deadline), service.fetches:
                return _Found(await fetch(address, self._left, service.fetch_terms))
        except (NoAddress, NotFetched) as error:
            raise _invalid(source, str(error)) from error
        except TimeoutError:
            message = f"the addresses of a request took longer than {FETCHING_S:g} seconds to fetch"
            raise _invalid(source, message) from None

    async def _stored(self, source: MediaOrigin) -> _Found:
        store = self._service.store
        if store is None or not store.is_open:
            raise _invalid(source, "this server keeps no files; send the data itself, in base64")
        file = await find_file(store, self._request, source.value, source.field)
        if file.bytes > self._left:
            self._take(file.bytes, source)
        try:
            data = b"".join([piece async for piece in store.blobs.read(file.blob)])
        except BlobMissing:
            message = f"'{source.field}': the file was deleted"
            raise NotFound(message, param=source.field) from None
        return _Found(data)


def _invalid(source: MediaOrigin, reason: str) -> InvalidMedia:
    return InvalidMedia(f"'{source.field}': {reason}", param=source.field)
