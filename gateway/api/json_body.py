"""The JSON in the body of a request: received, unpacked, parsed."""

import asyncio
from typing import Any

from starlette.requests import Request

from gateway.api import json_text
from gateway.api.content_encoding import decoded, encodings
from gateway.api.upload import receive
from gateway.core.errors import BadRequest, BodyTooLarge
from gateway.media.lifting import LiftedTexts, lift
from gateway.media.room import MediaLease

ENCODING = b"content-encoding"


async def read(request: Request, limit: int, timeout: float) -> tuple[dict[str, Any], int]:
    """The JSON object in the body, and the body's bytes, decoded. As :func:`read_value`."""
    value, size = await read_value(request, limit, timeout)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value, size


async def read_value(request: Request, limit: int, timeout: float) -> tuple[Any, int]:
    """The JSON value in the body, and the body's bytes, decoded.

    ``timeout`` is in seconds, see :func:`gateway.api.upload.upload_deadline`. Raises BodyTooLarge,
    BodyTimeout, UnsupportedEncoding, BadRequest or ClientDisconnect.
    """
    names = _encodings(request)
    data: bytes | bytearray = await receive(request, limit, timeout)
    if names:
        data = await asyncio.to_thread(decoded, data, names, limit)
    return json_text.load(data), len(data)


async def read_with_media(
    request: Request, most_text: int, most: int, timeout: float, lease: MediaLease
) -> tuple[dict[str, Any], int, LiftedTexts]:
    """Return the JSON object in a body, the bytes of its text, and the strings lifted out of it.

    ``most``: the bytes that it may have, ``most_text`` without those strings. ``lease``: its share
    of the memory for such bodies. Raises Unavailable, too; else as :func:`read`.
    """
    names = _encodings(request)
    data: bytes | bytearray = await receive(request, most, timeout, lease)
    if names:
        data = await _decoded_with_media(data, names, most_text, most, lease)
    lifted = LiftedTexts()
    if len(data) > most_text:
        data, lifted = lift(data, most_text)
    value = json_text.load(data)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value, len(data), lifted


async def _decoded_with_media(
    data: bytes | bytearray,
    names: list[str],
    most_text: int,
    most: int,
    lease: MediaLease,
) -> bytes | bytearray:
    """Return a body without its encodings: most are no larger than bodies of text."""
    try:
        return await asyncio.to_thread(decoded, data, names, most_text)
    except BodyTooLarge:
        lease.cover(len(data) + most)  # nothing tells before how large it will be
    return await asyncio.to_thread(decoded, data, names, most)


def _encodings(request: Request) -> list[str]:
    raw = request.headers.raw
    return encodings([value.decode("latin-1") for name, value in raw if name == ENCODING])
