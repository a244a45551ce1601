"""The calls of an answer, which clients get whole: as objects, never in pieces."""

from gateway.api import json_text
from gateway.api.ollama.types import OllamaCall
from gateway.api.reply import Call
from gateway.core.errors import BadRequest
from workers.protocol import CallDelta


class CallCollector:
    """Collects the pieces of calls, of which one is open at most."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._open: Call | None = None
        self._index = 0

    def take(self, delta: CallDelta) -> list[OllamaCall]:
        """Return the call that the next piece shows to be whole, if it is of another one."""
        found: list[OllamaCall] = []
        if delta.name is not None:
            found = self.close()
            self._open, self._index = Call(delta.name), delta.index
        assert self._open is not None, "a call begins with its name"
        self._open.arguments += delta.arguments
        return found

    def close(self) -> list[OllamaCall]:
        """Return the open call, if there is one: nothing follows in it."""
        call, self._open = self._open, None
        return [] if call is None else whole_call(self._request_id, self._index, call)


def whole_call(request_id: str, index: int, call: Call) -> list[OllamaCall]:
    """Return a call as an object; nothing of one that was cut off.

    Half of a surrogate pair, which grammars let a model write, is U+FFFD in it. Its id is made from
    the request's name, so that it survives the worker.
    """
    try:
        arguments = json_text.load((call.arguments or "{}").encode("utf-8", "replace"))
    except BadRequest:
        return []
    if not isinstance(arguments, dict):
        return []
    id_ = f"call_{request_id}{index:04x}"
    return [{"id": id_, "function": {"index": index, "name": call.name, "arguments": arguments}}]
