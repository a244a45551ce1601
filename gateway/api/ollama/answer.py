"""An answer of the dialect, whole or in lines of JSON."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

from gateway.api.endpoint import NDJSON
from gateway.api.ollama.calls import CallCollector, whole_call
from gateway.api.ollama.errors import error_line, error_response
from gateway.api.ollama.metrics import metrics
from gateway.api.ollama.types import (
    DoneReason,
    OllamaAnswerMessage,
    OllamaCall,
    OllamaChunkHead,
    OllamaMetrics,
)
from gateway.api.openai.logprobs import token_logprob
from gateway.api.reply import Completion
from gateway.api.ticket_stream import TicketStream
from gateway.core.errors import ForgeError
from gateway.dispatch.ticket import ClientEvent, Ticket
from workers.protocol import Delta, Finished, Started


class LineStream(TicketStream):
    """Streams a ticket as lines of JSON.

    They know no comments: while nothing comes, a line without text keeps the connection open.
    """

    media_type = NDJSON


class AnswerWriter(ABC):
    """Writes one answer. Implements :class:`gateway.api.ticket_stream.ChunkRenderer`."""

    def __init__(self, ticket: Ticket, model: str, *, logprobs: bool) -> None:
        """``model``: the name by which the client asked for it."""
        self._ticket = ticket
        self._model = model
        self._logprobs = logprobs
        self._calls = CallCollector(ticket.request_id)

    @abstractmethod
    def _said(
        self, text: str = "", thought: str = "", calls: list[OllamaCall] | None = None
    ) -> Mapping[str, Any]:
        """Return the fields that say something."""

    def _rest(self) -> Mapping[str, Any]:
        """Return more fields of the last line."""
        return {}

    # A stream.

    def event(self, event: ClientEvent) -> bytes:
        if isinstance(event, Started):
            return b""
        return b"".join(map(line, self._lines(event)))

    def waiting(self) -> bytes:
        return line(self._chunk(self._said()))

    def error(self, error: ForgeError) -> bytes:
        return error_line(error)

    def refusal(self, error: ForgeError) -> Response:
        return error_response(error)

    # A whole answer.

    def whole(self, completion: Completion) -> Mapping[str, Any]:
        """Return the answer, after its end."""
        calls = [
            each
            for index, call in enumerate(completion.calls)
            for each in whole_call(self._ticket.request_id, index, call)
        ]
        said = self._said(completion.text, completion.reasoning, calls)
        end = self._last(said, completion.reason)
        return {**end, **self._probable(completion.logprobs)}

    # Parts of both.

    def _lines(self, event: Delta | Finished) -> list[Mapping[str, Any]]:
        """Return the lines for an event: its thought, its text, its calls, its end."""
        found: list[Mapping[str, Any]] = []
        text, extra = event.text, event.extra
        thought = "" if extra is None else extra.reasoning
        found_here = [] if extra is None else extra.logprobs
        logprobs = self._probable([token_logprob(each) for each in found_here])
        calls = self._calls.close() if text or thought else []
        if calls:
            found.append(self._chunk(self._said(calls=calls)))
        if text or thought or logprobs:
            found.append({**self._chunk(self._said(text, thought)), **logprobs})
        for delta in () if extra is None else extra.calls:
            if calls := self._calls.take(delta):
                found.append(self._chunk(self._said(calls=calls)))
        if isinstance(event, Finished):
            if calls := self._calls.close():
                found.append(self._chunk(self._said(calls=calls)))
            found.append(self._last(self._said(), event.reason))
        return found

    def _chunk(self, said: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**head(self._model), **said, "done": False}

    def _last(self, said: Mapping[str, Any], reason: str) -> Mapping[str, Any]:
        why: DoneReason = "length" if reason == "length" else "stop"
        numbers: OllamaMetrics = metrics(self._ticket)
        end = {"done": True, "done_reason": why, **self._rest(), **numbers}
        return {**head(self._model), **said, **end}

    def _probable(self, found: list[Any]) -> dict[str, Any]:
        return {"logprobs": found} if self._logprobs and found else {}


class ChatWriter(AnswerWriter):
    """The answer to a chat."""

    def _said(
        self, text: str = "", thought: str = "", calls: list[OllamaCall] | None = None
    ) -> Mapping[str, Any]:
        return {"message": message(text, thought, calls)}


class GenerateWriter(AnswerWriter):
    """The answer to a prompt."""

    def _said(
        self, text: str = "", thought: str = "", calls: list[OllamaCall] | None = None
    ) -> Mapping[str, Any]:
        return {"response": text, **({"thinking": thought} if thought else {})}

    def _rest(self) -> Mapping[str, Any]:
        """Return the tokens so far, for a client that goes on with them."""
        (sequence,) = self._ticket.sequences
        if sequence.started is None or not sequence.job.params.prompt_ids:
            return {}
        return {"context": [*sequence.started.prompt, *sequence.ids]}


def message(
    text: str = "", thought: str = "", calls: list[OllamaCall] | None = None
) -> OllamaAnswerMessage:
    """Return an assistant's message."""
    found: OllamaAnswerMessage = {"role": "assistant", "content": text}
    if thought:
        found["thinking"] = thought
    if calls:
        found["tool_calls"] = calls
    return found


def head(model: str) -> OllamaChunkHead:
    """Return the fields with which every line begins."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"model": model, "created_at": now.removesuffix("+00:00") + "Z"}


def line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value) + b"\n"
