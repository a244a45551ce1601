"""The common part of chat and text completions: bodies' fields, and answers' frame."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import orjson
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from starlette.responses import Response

from gateway import __version__
from gateway.api.body import SamplingBody
from gateway.api.nested import Nested
from gateway.api.openai.asides import Asides, beside
from gateway.api.openai.errors import error_body, error_response
from gateway.api.other_names import CompletionNames
from gateway.api.reply import Completion, llama_timings
from gateway.api.sse import COMMENT
from gateway.core.errors import ForgeError
from gateway.dispatch.ticket import ClientEvent, Ticket
from workers.protocol import Delta, Extra, Logprob, Prompt, Started

FINGERPRINT = f"forge-{__version__}"
MAX_CHOICES = 128
"""Most completions of one prompt, as in OpenAI's API."""
MAX_SEQUENCES = 256
"""Most generations of one request: prompts times n."""
DONE = b"data: [DONE]\n\n"
HOLE = "\0"
"""Stands for the text where a chunk is written before there is any; nothing after it is like it."""


class StreamOptions(Nested):
    include_usage: bool | None = None
    """True: a last chunk tells the token counts."""
    continuous_usage_stats: bool | None = None
    """True: every chunk tells the token counts so far, as in vLLM."""
    include_obfuscation: bool | None = None
    """Padding that hides sizes from eavesdroppers: accepted, and none is added."""


class OpenAIBody(SamplingBody):
    """Fields of both endpoints."""

    model: str | None = None
    """The model's id; the first one if none is named."""
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    """Number of answers. Default 1; number i is sampled with `seed` + i."""
    stream: bool | None = None
    """True: the answer comes as server-sent events."""
    stream_options: StreamOptions | None = None
    """Additions to a stream; without `stream` they change nothing."""
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    """A priority in OpenAI's words: flex is batch, priority urgent."""
    timings: bool | None = None
    """True: the answer ends with llama-server's timings."""
    return_progress: bool | None = None
    """True: a stream tells how much of the prompt is computed, as in llama-server."""
    verbose: bool | None = None
    """True: the prompt and all settings are told, too, under `__verbose`, as in llama-server."""

    others: SkipJsonSchema[CompletionNames | None] = None
    others_type = CompletionNames

    def check(self) -> None:
        """Raises BadRequest for fields that contradict each other."""

    def prompts(self) -> tuple[Prompt, ...]:
        raise NotImplementedError

    def alternatives(self) -> int | None:
        """Return the number of alternatives of each token to tell with probabilities, if any."""
        raise NotImplementedError

    def predicted(self) -> str:
        """Return a text that the answer may resemble; "" if there is none."""
        return ""

    def further_params(self) -> dict[str, Any]:
        return {
            "tell_prompt": bool(self.verbose),
            "tell_progress": bool(self.stream and self.return_progress),
        }

    @property
    def wants_usage(self) -> bool:
        others = self.others
        if others is not None and others.usage is not None and others.usage.include:
            return True
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def wants_usage_always(self) -> bool:
        return bool(self.stream_options and self.stream_options.continuous_usage_stats)


class Envelope(ABC):
    """An answer, whole or in chunks.

    Implements :class:`gateway.api.ticket_stream.ChunkRenderer`.
    """

    prefix: str
    """Of the answer's id."""
    kind: str
    chunk_kind: str

    def __init__(
        self, ticket: Ticket, model: str, given: OpenAIBody, asides: Asides | None = None
    ) -> None:
        """``asides``: what is told beside, if anything is."""
        self._ticket = ticket
        self._asides = asides
        self._open = len(ticket.sequences)
        """Choices that a stream has not finished yet."""
        self._wants_usage = given.wants_usage
        self._usage_always = given.wants_usage_always
        self._wants_timings = bool(given.timings)
        self._wants_logprobs = given.alternatives() is not None
        self._fields: dict[str, Any] = {
            "id": f"{self.prefix}-{ticket.request_id}",
            "object": self.kind,
            "created": int(ticket.job.created),
            "model": model,
            "system_fingerprint": FINGERPRINT,
            **self._more_fields(given),
        }
        # The constant part of every chunk is serialised once.
        chunk = {**self._fields, "object": self.chunk_kind}
        self._head = b"data: " + orjson.dumps(chunk)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if self._wants_usage else b"]}\n\n"
        self._frames: dict[int, tuple[bytes, bytes]] = {}
        """For each choice, what stands around the text in a chunk that brings text alone."""

    def _more_fields(self, given: OpenAIBody) -> dict[str, Any]:
        return {}

    # A whole answer.

    def whole(self, completions: list[Completion]) -> dict[str, Any]:
        choices = [self._choice(index, found) for index, found in enumerate(completions)]
        answer = {**self._fields, "choices": choices, "usage": self._ticket.usage.openai()}
        if self._wants_timings:
            answer["timings"] = llama_timings(self._ticket)
        return answer if self._asides is None else answer | self._asides.whole(completions)

    @abstractmethod
    def probable(self, found: Logprob) -> Any:
        """Return a token and its probabilities as they are kept until the answer is whole."""

    @abstractmethod
    def _choice(self, index: int, completion: Completion) -> Any:
        """One of the answer's choices."""

    # A stream.

    @abstractmethod
    def _first(self, index: int) -> Any | None:
        """The choice in the chunk that tells of a start, if there is one."""

    @abstractmethod
    def _piece(self, index: int, text: str, extra: Extra | None) -> Any:
        """The choice in a chunk that brings something."""

    @abstractmethod
    def _last(self, index: int, reason: str) -> Any:
        """The choice in the chunk that ends it."""

    def event(self, event: ClientEvent) -> bytes:
        index = self._ticket.index(event)
        if isinstance(event, Started):
            return self._chunk(self._first(index)) + self._before(index, event)
        data = b""
        if event.extra is not None and beside(event.extra):
            pass
        elif event.extra is not None:
            data = self._chunk(self._piece(index, event.text, event.extra))
        elif event.text and self._usage_always:
            data = self._chunk(self._piece(index, event.text, None))
        elif event.text:
            before, after = self._frame(index)
            data = before + orjson.dumps(event.text) + after
        more = None if self._asides is None else self._asides.last(event)
        if self._asides is not None:
            data = self._before(index, event) + data
        if isinstance(event, Delta):
            return data
        return data + self._end(self._last(index, event.reason), more)

    def _before(self, index: int, event: ClientEvent) -> bytes:
        """Return the chunk that tells beside what comes before an event, if there is one."""
        more = {} if self._asides is None else self._asides.before(event)
        return self._chunk(self._piece(index, "", None), more) if more else b""

    def _frame(self, index: int) -> tuple[bytes, bytes]:
        """Nearly all chunks of a stream differ in their text alone: the rest is written once."""
        if index not in self._frames:
            whole = self._chunk(self._piece(index, HOLE, None))
            before, _, after = whole.rpartition(orjson.dumps(HOLE))
            self._frames[index] = before, after
        return self._frames[index]

    def _chunk(self, choice: Any | None, more: dict[str, Any] | None = None) -> bytes:
        """Return a chunk of one choice. ``more``: further fields of the chunk."""
        if choice is None:
            return b""
        tail = self._tail
        if self._usage_always:
            tail = b'],"usage":' + orjson.dumps(self._ticket.usage.openai()) + b"}\n\n"
        if more:
            tail = tail.removesuffix(b"}\n\n") + b"," + orjson.dumps(more)[1:] + b"\n\n"
        return self._head + orjson.dumps(choice) + tail

    def _end(self, choice: Any, more: dict[str, Any] | None) -> bytes:
        """Return the last chunk of a choice, and of the last one, what ends the stream.

        A chunk without choices comes only where the usage is asked for: clients trip over it.
        ``more``: further fields of the choice's chunk.
        """
        self._open -= 1
        if self._open:
            return self._chunk(choice, more)
        last: dict[str, Any] = {}
        if self._wants_timings:
            last["timings"] = llama_timings(self._ticket)
        if not self._wants_usage:
            return self._chunk(choice, {**(more or {}), **last}) + DONE
        last = {"usage": self._ticket.usage.openai(), **last}
        return (
            self._chunk(choice, more) + self._head + b"]," + orjson.dumps(last)[1:] + b"\n\n" + DONE
        )

    def waiting(self) -> bytes:
        return COMMENT

    def error(self, error: ForgeError) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(error_body(error)) + b"\n\n"

    def refusal(self, error: ForgeError) -> Response:
        return error_response(error)
