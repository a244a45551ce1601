"""A body of the dialect as it comes, with a bound on its depth: much of it is written again."""

from typing import Any

from starlette.requests import Request

from gateway.api.service import Service
from gateway.conversation import deeper
from gateway.core.errors import BadRequest

MAX_DEPTH = 128
"""Levels of nesting of a field. What is stored or told again as JSON is written by recursion."""


async def read_body(
    request: Request, service: Service, *, media: bool = False
) -> tuple[dict[str, Any], int]:
    """Return the object in a body, and the body's bytes. As :meth:`Service.read`.

    Raises what :func:`gateway.api.json_body.read` does, and BadRequest about a field that is too
    deep.
    """
    raw, size = await service.read(request, media=media)
    for name, value in raw.items():
        if deeper(value, MAX_DEPTH):
            message = f"'{name}': it may be nested {MAX_DEPTH} levels deep at most"
            raise BadRequest(message, param=name)
    return raw, size
