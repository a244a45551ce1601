"""Earlier calls: those that wait for a result, and those of the older API."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from gateway.api.openai.messages import CalledFunction, PastCall
from gateway.conversation import FUNCTION_NAME


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


def legacy_call(extra: Mapping[str, Any]) -> list[PastCall]:
    """Return the call in an assistant's ``function_call``, which is what calls were once."""
    given = extra.get("function_call")
    if not isinstance(given, dict):
        return []
    name = given.get("name")
    if not isinstance(name, str) or not re.fullmatch(FUNCTION_NAME, name):
        return []
    return [PastCall(function=CalledFunction(name=name, arguments=given.get("arguments")))]
