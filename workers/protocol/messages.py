"""The messages of the link between the gateway and a worker.

A worker sends one :class:`Step` frame per decode step, however many sequences took part, so the
cost of the link does not grow with the number of streams. Quick steps share one.
"""

import math

import msgspec

from workers.protocol.adapters import AdapterLoaded, LoadAdapter, UnloadAdapter, scope_of
from workers.protocol.params import GenerationParams
from workers.protocol.prompts import Prompt
from workers.protocol.questions import Answer, Ask

# --------------------------------------------------------------------------- gateway -> worker


class TraceParent(msgspec.Struct, frozen=True, array_like=True):
    """The span under which a generation is computed, as W3C Trace Context writes it."""

    traceparent: str
    tracestate: str = ""


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """One generation, embedding or score. ``(id, attempt)`` names it; a retried job keeps its id.

    ``resume`` holds the ids already sampled by an earlier attempt, whose text has been delivered:
    the worker goes on after them. ``now`` (Unix seconds) is what a template sees as the date, so
    that a resumed job renders the same prompt.
    """

    id: int
    attempt: int
    prompt: Prompt
    params: GenerationParams
    now: float
    resume: list[int] = []
    priority: float = 1.0
    """The base priority: when cells run short, the largest gets them first. Minus infinity: it is
    spare, and gives its cells to any that is not."""
    rank: float = 0.0
    """Its place in the gateway's queue, in seconds: the smallest is computed first."""
    cache_scope: str = ""
    """Only requests of the same one may use what was computed for it."""
    spent_ms: float = 0.0
    """Of a job with a limit of time that goes on: since its first token, in whichever attempt."""
    trace: TraceParent | None = None
    """Of a request whose spans are kept."""

    @property
    def spare(self) -> bool:
        """Return whether it takes only what nothing else wants."""
        return self.priority == -math.inf

    @property
    def scope(self) -> str:
        """Return the name under which it shares what is computed: of its scope and adapters."""
        return scope_of(self.cache_scope, self.params.adapters)


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a generation. It is answered by ``Finished(reason="cancelled")``, unless it ended."""

    id: int


class Park(msgspec.Struct, frozen=True, tag="park"):
    """Take a generation off its slot and keep its state. Answered by ``Parked``, unless it ended.

    A later ``Generate`` with the same id goes on where it stopped; ``Cancel`` gives it up. An
    embedding or a score, which is short, keeps nothing and starts again.
    """

    id: int


ToWorker = Generate | Cancel | Park | Ask | LoadAdapter | UnloadAdapter

# --------------------------------------------------------------------------- worker -> gateway


class ModelInfo(msgspec.Struct, frozen=True):
    """The facts about a model that a worker learned while loading it."""

    name: str
    description: str
    n_params: int
    size_bytes: int
    n_vocab: int
    n_ctx_train: int
    n_ctx: int
    """KV cells of the worker, divided among its sequences."""
    n_ctx_seq: int
    """The most tokens one sequence (prompt and completion) may hold."""
    longest_piece: int
    """Bytes of the longest token: a prompt of more than n_ctx_seq times this cannot fit."""
    n_embd: int
    """Components of an embedding."""
    generates: bool = True
    """False: it can only embed or rank."""
    embeds: bool = True
    ranks: bool = False
    """True: it scores pairs of texts, and does nothing else."""
    thinks: bool = False
    """True: its template tells thoughts from answers."""
    infills: bool = False
    """True: it has tokens for a gap between two texts."""
    sees: bool = False
    """True: it takes pictures."""
    hears: bool = False
    """True: it takes sound."""
    notes: list[str] = []
    """Hints for the operator, a line each."""
    chat_template: str = ""
    """Its source, the operator's or the model's own; "" if there is none."""
    bos_token: str = ""
    """The name of the token with which a text begins; "" if there is none."""
    eos_token: str = ""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker can serve; it takes ``slots`` generations at once."""

    pid: int
    slots: int
    model: ModelInfo
    adapters: list[str] = []
    """Digests of the adapters that it has."""
    refused: list[AdapterLoaded] = []
    """Adapters of its spec that it can't have."""


class StartupFailed(msgspec.Struct, frozen=True, tag="startup_failed"):
    """The worker can't serve with this spec and trying again would not help."""

    message: str


class Violated(msgspec.Struct, frozen=True, tag="violated"):
    """The worker's own counts do not add up: a bug. It ends, and a sound one takes its place."""

    message: str


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """The process is alive, whatever its engine is doing."""


class Started(msgspec.Struct, frozen=True, tag="started", array_like=True):
    """A generation took a slot. ``cached_tokens`` of its prompt were already computed."""

    id: int
    attempt: int
    prompt_tokens: int
    cached_tokens: int
    prompt: list[int] = []
    """The prompt's tokens, if they were asked for."""


class TokenChance(msgspec.Struct, frozen=True, array_like=True):
    """A token and its log probability, before any sampling stage; bytes need not be UTF-8."""

    id: int
    piece: bytes
    logprob: float


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """A token that was chosen, and the likeliest ones in its place, best first.

    ``chosen.logprob`` of a prompt's first token is NaN: nothing stands before it.
    """

    chosen: TokenChance
    top: list[TokenChance]


class CallDelta(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a tool call: its name with the first piece, then text of its JSON arguments."""

    index: int
    name: str | None
    arguments: str


class Extra(msgspec.Struct, frozen=True, array_like=True):
    """The results of a step beside plain text; most requests never have any."""

    reasoning: str = ""
    calls: list[CallDelta] = []
    logprobs: list[Logprob] = []
    echo: bool = False
    """True if text and logprobs are the prompt's."""
    vector: bytes = b""
    """An embedding: little-endian float32, of length 1."""
    prompt: str = ""
    """The text of the prompt, if it is asked for."""
    progress: int = 0
    """Tokens of the prompt that are computed or were cached, if it is asked for: not yet all."""
    score: float | None = None
    """Measure of how well the document of a pair answers its query."""


class Drafts(msgspec.Struct, frozen=True, array_like=True):
    """Tokens of a sequence that a step computed before it was known that they would be chosen."""

    drafted: int
    accepted: int
    """Number of the first of them that were."""
    predicted: bool = False
    """True if they were of the request's prediction."""


class Delta(msgspec.Struct, frozen=True, tag="delta", array_like=True):
    """Tokens sampled and the text they released (maybe none: UTF-8 or a stop string is open)."""

    id: int
    attempt: int
    ids: list[int]
    text: str
    extra: Extra | None = None
    drafts: Drafts | None = None


class Finished(msgspec.Struct, frozen=True, tag="finished", array_like=True):
    """The last event of a generation that did not fail; it frees the slot.

    ``reason`` is "stop" (end of turn or stop string), "tool_calls", "length" or "cancelled".
    """

    id: int
    attempt: int
    reason: str
    ids: list[int]
    text: str
    extra: Extra | None = None
    drafts: Drafts | None = None
    stop: str | None = None
    """The stop string that ended it, if one did."""


class Parked(msgspec.Struct, frozen=True, tag="parked", array_like=True):
    """A generation left its slot; what it computed is kept for when it goes on."""

    id: int
    attempt: int


class Failed(msgspec.Struct, frozen=True, tag="failed", array_like=True):
    """The last event of a generation that failed; ``code`` is one of the FAILURES below."""

    id: int
    attempt: int
    code: str
    message: str
    param: str | None = None
    """The field of the request that is to blame, in OpenAI's names."""
    overflow: tuple[int, int] | None = None
    """Of CONTEXT_OVERFLOW: tokens of the prompt, and the most that the context holds."""


CONTEXT_OVERFLOW = "context_length_exceeded"
BAD_PROMPT = "invalid_prompt"
BAD_CONSTRAINT = "invalid_constraint"
BAD_PARAMETER = "invalid_request"
BAD_MEDIA = "invalid_media"
"""A picture or a sound that can't be decoded, or is too large; ``param`` is the medium's."""
NOT_SUPPORTED = "model_not_supported"
COMPUTE_FAILED = "compute_failed"
FAILURES = frozenset(
    {
        CONTEXT_OVERFLOW,
        BAD_PROMPT,
        BAD_CONSTRAINT,
        BAD_PARAMETER,
        BAD_MEDIA,
        NOT_SUPPORTED,
        COMPUTE_FAILED,
    }
)

Event = Started | Delta | Finished | Parked | Failed


class Load(msgspec.Struct, frozen=True, array_like=True):
    """Counters since the worker's start, and gauges, as of the step that carries them."""

    steps: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    running: int = 0
    parked: int = 0
    cells_used: int = 0
    step_ms: float = 0.0
    host_bytes: int = 0
    """Host memory of snapshots: prefixes, and the work of paused sequences."""
    host_room: int = 0
    """Tokens that it holds when it is full, by the size of those it has; 0: there were none yet."""
    restored_tokens: int = 0
    """Tokens that came back from there, instead of being computed."""
    step_sequences: int = 0
    """Sequences in each of the steps, added up; of embeddings, none."""


class Step(msgspec.Struct, frozen=True, tag="step"):
    """The results of one decode step, or of a few quick ones, for all sequences together.

    There may be none: then it tells only that a step was done. ``load`` is None in a frame that
    reports no step: it refuses a prompt, or it comes before a step that may be long.
    """

    events: list[Event]
    load: Load | None


Report = Ready | StartupFailed | Violated | Step | AdapterLoaded
FromWorker = Report | Heartbeat | Answer
