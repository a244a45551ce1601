"""The arguments of earlier calls, however they are written. Pure."""

from typing import Any

import orjson

from gateway.core.errors import BadRequest

MAX_DEPTH = 64
"""Levels of nesting that are read: templates write values by recursion."""


def arguments(given: Any, path: tuple[str | int, ...]) -> dict[str, Any] | str:
    """Return a call's arguments: an object wherever the text is one, otherwise the text.

    A model that was cut off leaves half an object, and templates get it as the model wrote it.
    Raises BadRequest for a value that is too deep; ``path`` is its place in the request.
    """
    if not isinstance(given, str):
        if given is None or (isinstance(given, dict) and not deeper(given, MAX_DEPTH)):
            return given or {}
        return written(given, path)
    try:
        value = orjson.loads(given or "null")
    except orjson.JSONDecodeError:
        return given if given.strip() else {}
    if value is None:
        return {}
    brackets = given.count("{") + given.count("[")
    if isinstance(value, dict) and (brackets <= MAX_DEPTH or not deeper(value, MAX_DEPTH)):
        return value
    return given


def written(value: Any, path: tuple[str | int, ...]) -> str:
    """Return a value as JSON. Raises BadRequest if it is too deep."""
    if deeper(value, MAX_DEPTH):
        field = ".".join(map(str, path))
        message = f"'{field}': it may be nested {MAX_DEPTH} levels deep at most"
        raise BadRequest(message, param=field)
    return orjson.dumps(value).decode()


def deeper(value: Any, depth: int) -> bool:
    """Return whether a value is nested in more than so many levels."""
    level = [value]
    for _ in range(depth):
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                deeper += each.values()
            elif isinstance(each, list):
                deeper += each
        if not deeper:
            return False
        level = deeper
    return True
