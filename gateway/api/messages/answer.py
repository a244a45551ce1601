"""An answer of the dialect, whole or in events."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from gateway.api.messages.blocks import BlockWriter
from gateway.api.messages.body import MessagesBody
from gateway.api.messages.errors import error_body, error_response
from gateway.api.messages.types import MessageObject, MessageStop, MessageUsage
from gateway.core.errors import ForgeError
from gateway.dispatch.ticket import ClientEvent, Ticket
from workers.protocol import Finished, Started

SILENT = 16
"""Pieces of an answer that may bring nothing, one after the other, before a ping."""


class MessageWriter:
    """Writes one answer. Implements :class:`gateway.api.ticket_stream.ChunkRenderer`."""

    def __init__(self, ticket: Ticket, model: str, given: MessagesBody) -> None:
        self._ticket = ticket
        self._model = model
        self._limit = given.limit()
        self._stops = given.stops()
        self._blocks = BlockWriter(ticket.request_id, hides_thoughts=given.hides_thoughts)
        self._finished: Finished | None = None
        self._silent = 0
        """Pieces that brought the client nothing."""
        self._begun = False
        """True after message_start, which comes once, whenever the generation begins."""

    @property
    def ended(self) -> bool:
        return self._finished is not None

    def event(self, event: ClientEvent) -> bytes:
        data = b"".join(map(frame, self.take(event)))
        if data or isinstance(event, Started):
            return data
        # A thought that is not shown may take minutes.
        self._silent += 1
        return b"" if self._silent % SILENT else PING

    def take(self, event: ClientEvent) -> list[Mapping[str, Any]]:
        """Return the dialect's events of one of the generation."""
        events: list[Mapping[str, Any]] = [] if self._begun else [self._start()]
        if isinstance(event, Started):
            return events
        events += self._blocks.take(event.text, event.extra)
        if isinstance(event, Finished):
            self._finished = event
            reason, sequence = self._stop()
            delta = {"stop_reason": reason, "stop_sequence": sequence}
            events += self._blocks.end()
            events.append({"type": "message_delta", "delta": delta, "usage": self._usage()})
            events.append({"type": "message_stop"})
        return events

    def waiting(self) -> bytes:
        """Return what a client gets while nothing comes: clients give up after silence, and most
        count events, not comments."""
        start = b"" if self._begun else frame(self._start())
        return start + PING

    def whole(self) -> MessageObject:
        """Return the answer, after its last event."""
        message = self._message()
        message["content"] = self._blocks.blocks
        message["stop_reason"], message["stop_sequence"] = self._stop()
        message["usage"] = self._usage()
        return message

    def error(self, error: ForgeError) -> bytes:
        return frame(error_body(error, self._ticket.request_id))

    def refusal(self, error: ForgeError) -> Response:
        return error_response(error, self._ticket.request_id)

    def _start(self) -> Mapping[str, Any]:
        self._begun = True
        return {"type": "message_start", "message": self._message()}

    def _message(self) -> MessageObject:
        return {
            "id": f"msg_{self._ticket.request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(),
        }

    def _usage(self) -> MessageUsage:
        usage = self._ticket.usage
        return {
            "input_tokens": usage.prompt - usage.cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached,
            "output_tokens": usage.completion,
        }

    def _stop(self) -> tuple[MessageStop, str | None]:
        """Return why the answer ended, and the text that ended it if one did."""
        finished = self._finished
        assert finished is not None, "it ended"
        if finished.reason == "tool_calls":
            return "tool_use", None
        if finished.reason == "length":
            limit = self._limit
            cut = limit is not None and self._ticket.usage.completion >= limit
            return "max_tokens" if cut else "model_context_window_exceeded", None
        if finished.stop in self._stops:
            return "stop_sequence", finished.stop
        return "end_turn", None


def frame(event: Mapping[str, Any]) -> bytes:
    """Return an event as bytes. Without the line of its type, clients skip it."""
    kind: str = event["type"]
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


PING = frame({"type": "ping"})
