"""Earlier calls, however they are written: their arguments, and those of the older API."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.api.openai.messages import NAME, CalledFunction, PastCall
from gateway.core.errors import BadRequest

MAX_DEPTH = 64
"""Levels of nesting that are read: templates write values by recursion."""


class OpenCalls:
    """The calls of a turn that have no result yet, in their order."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self._queues: dict[str | None, deque[str]] = {None: deque()}
        """The ids of a function's calls, and at None of all; some have results by now."""

    def add(self, id_: str, function: str) -> None:
        self._open.add(id_)
        for name in (None, function):
            self._queues.setdefault(name, deque()).append(id_)

    def first(self, function: str | None) -> str | None:
        """Return the first one, of a function if one is given."""
        queue = self._queues.get(function, deque())
        while queue and queue[0] not in self._open:
            queue.popleft()
        return queue[0] if queue else None

    def close(self, id_: str) -> None:
        """Note a result."""
        self._open.discard(id_)


def arguments(given: Any, call: tuple[str | int, ...]) -> dict[str, Any] | str:
    """Return a call's arguments: an object wherever the text is one, otherwise the text.

    A model that was cut off leaves half an object, and templates get it as the model wrote it.
    Raises BadRequest for a value that is too deep; ``call`` is the path to it.
    """
    if not isinstance(given, str):
        if given is None or (isinstance(given, dict) and not _deep(given)):
            return given or {}
        return written(given, (*call, "function", "arguments"))
    try:
        value = orjson.loads(given or "null")
    except orjson.JSONDecodeError:
        return given if given.strip() else {}
    if value is None:
        return {}
    brackets = given.count("{") + given.count("[")
    if isinstance(value, dict) and (brackets <= MAX_DEPTH or not _deep(value)):
        return value
    return given


def written(value: Any, path: tuple[str | int, ...]) -> str:
    """Return a value as JSON. Raises BadRequest if it is too deep."""
    if _deep(value):
        field = ".".join(map(str, path))
        message = f"'{field}': it may be nested {MAX_DEPTH} levels deep at most"
        raise BadRequest(message, param=field)
    return orjson.dumps(value).decode()


def legacy_call(extra: Mapping[str, Any]) -> list[PastCall]:
    """Return the call in an assistant's ``function_call``, which is what calls were once."""
    given = extra.get("function_call")
    if not isinstance(given, dict):
        return []
    name = given.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        return []
    return [PastCall(function=CalledFunction(name=name, arguments=given.get("arguments")))]


def _deep(value: Any) -> bool:
    """Return whether a value is nested too deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
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
