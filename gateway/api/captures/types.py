"""The shapes of captures."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from gateway.dispatch.outcome import Outcome


class CaptureError(TypedDict):
    code: str
    message: str


class CaptureText(TypedDict):
    """A text of the answer, put together of the pieces of a stream."""

    name: str
    """The name of its field: content, reasoning_content, arguments ..."""
    text: str


class CaptureAttempt(TypedDict):
    """A stay in a slot of a worker. Times are in seconds."""

    choice: int
    """Index of the answer, of which a request may have several."""
    number: int
    """Counted from 1 on for each answer."""
    worker: int
    """The worker's id, as in ``/workers``."""
    node: str | None
    """The machine that it runs on, where workers run on those of a cluster."""
    began_s: float
    """Time from the request's arrival."""
    seconds: float | None
    """Time that it had the slot; null if that goes on."""
    end: Literal["ended", "lost", "preempted", "parked", "paused"] | None
    """``ended``: the answer was whole, or given up. ``lost``: the worker died, and another one went
    on, or none could. ``preempted``, ``parked`` and ``paused``: the slot went to a more urgent
    request, the worker's memory was short, the client did not read."""


class CaptureHead(TypedDict):
    """A request that was captured, without the two bodies. Times are in seconds."""

    id: str
    object: Literal["capture"]
    key: str
    """The name of its API key; empty on a server without keys."""
    model: str
    path: str
    dialect: str
    request_id: str
    """Its name in the log, as in ``X-Request-Id``."""
    created: float
    """Unix seconds."""
    seconds: float
    """Time from the end of its headers to the end of the answer."""
    status: int
    """Of HTTP; 0: the client was gone before there was one."""
    outcome: Outcome
    error: CaptureError | None
    seed: int | None
    """The seed that its sampling began with."""
    headers: dict[str, str]
    """Headers of the request that say how it was meant; keys and cookies are never kept."""
    content_type: str
    """Of the answer."""
    request_bytes: int
    answer_bytes: int
    """Bytes that there were, those that are not kept included."""
    notes: list[str]
    """Sentences about what is cut, redacted or left out."""
    replayable: bool
    """True: its body is whole, so that `forge replay` can send it again."""
    sequences: NotRequired[int]
    queue_wait_s: NotRequired[float | None]
    ttft_s: NotRequired[float | None]
    e2e_s: NotRequired[float | None]
    parked_s: NotRequired[float]
    prompt_tokens: NotRequired[int]
    cached_tokens: NotRequired[int]
    generation_tokens: NotRequired[int]
    prompt_tokens_per_second: NotRequired[float | None]
    generation_tokens_per_second: NotRequired[float | None]
    attempts: NotRequired[list[CaptureAttempt]]
    """The workers that computed it, in the order of the answers and of time, 32 at most."""
    more_attempts: NotRequired[bool]
    """True: there were more attempts than are listed."""
    failovers: NotRequired[int]
    """The times that a worker died and it went on all the same."""


class CaptureObject(CaptureHead):
    """A request that was captured."""

    request: str
    """Its body."""
    answer: str
    """The answer's body; of a stream all its events."""
    texts: list[CaptureText]
    """The texts that the answer has, without its form."""


class CaptureList(TypedDict):
    object: Literal["list"]
    data: list[CaptureHead]
    """The newest first."""
    has_more: bool


class DeletedCapture(TypedDict):
    id: str
    object: Literal["capture"]
    deleted: Literal[True]


class DeletedCaptures(TypedDict):
    object: Literal["captures"]
    deleted: int
    """The number of those that were there."""
