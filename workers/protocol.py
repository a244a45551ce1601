"""The wire vocabulary between the gateway and a worker: every fact that crosses the border.

This is the only module of ``workers`` that the gateway imports; :mod:`workers.spec` and
:mod:`workers.jobs` are parts of it. It knows nothing of sockets, of HTTP or of llama.cpp: messages
are small frozen values, and the codec turns them into bytes and back (sans-IO, so it is tested
without a process).

A frame is a 4-byte big-endian length followed by one msgpack message. A worker sends one
:class:`Step` frame per decode step, however many sequences took part, so the cost of the link
does not grow with the number of streams.
"""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

from workers.jobs import Compare as Compare
from workers.jobs import Done as Done
from workers.jobs import Error as Error
from workers.jobs import FromJob as FromJob
from workers.jobs import Hopeless as Hopeless
from workers.jobs import Job as Job
from workers.jobs import Pair as Pair
from workers.jobs import Score as Score
from workers.jobs import Scored as Scored
from workers.jobs import Shrink as Shrink
from workers.jobs import Tick as Tick
from workers.jobs import Where as Where
from workers.spec import Value as Value
from workers.spec import WorkerSpec as WorkerSpec

# --------------------------------------------------------------------------- what to run


class ToolUse(msgspec.Struct, frozen=True):
    """The functions that a model may call, and how free it is to do so."""

    tools: list[dict[str, Any]]
    """OpenAI's form, which templates read: {"type": "function", "function": {"name", ...}}."""
    callable: list[str]
    """Names of those that may be called now: all of them, or fewer."""
    required: bool
    """Whether the answer must be a call; else it may be text."""
    parallel: bool
    """Whether one answer may hold several calls."""


class Chat(msgspec.Struct, frozen=True, tag="chat"):
    """A conversation; the worker renders it with the model's chat template."""

    messages: list[dict[str, Any]]
    tools: ToolUse | None = None
    arguments: dict[str, Any] = {}
    """More variables for the template, such as enable_thinking."""


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A prompt taken as it is, without a template."""

    text: str


class Tokens(msgspec.Struct, frozen=True, tag="tokens"):
    """A prompt that the client has tokenised; ids are checked against the vocabulary."""

    ids: list[int]


class Infill(msgspec.Struct, frozen=True, tag="infill"):
    """What stands before and after the text that is wanted, for models with FIM tokens."""

    prefix: str
    suffix: str


Prompt = Chat | Text | Tokens | Infill


class JsonSchema(msgspec.Struct, frozen=True, tag="schema"):
    """The answer must be JSON of this schema."""

    schema: dict[str, Any]
    strict: bool = True
    """False: what of the schema can't be enforced is left to the model."""
    param: str = "response_format"
    """The field of the request it came from, to be named if it can't be enforced."""


class Grammar(msgspec.Struct, frozen=True, tag="grammar"):
    """The answer must be a sentence of this grammar, in GBNF or llguidance's Lark."""

    source: str
    param: str = "grammar"


Constraint = JsonSchema | Grammar


SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
"""The stages of a request by llama-server's names, in its default order."""


class Dry(msgspec.Struct, frozen=True, array_like=True):
    """Don't repeat yourself: a token that would make a repetition longer than ``allowed_length``
    tokens costs ``multiplier * base ** (tokens above that)``, subtracted from its logit."""

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    last_n: int = 64
    """Sampled tokens that are looked at; -1: as many as possible."""
    breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """Where one of these stands in the text, a repetition ends."""


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How a token is chosen. Neutral values switch a stage off; temperature 0 is greedy."""

    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int | None = None
    """Sampled tokens that penalties count; -1: all. None: 64 for ``repeat_penalty`` as in
    llama-server, all for the other two as in OpenAI's API."""
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    min_keep: int = 0
    """Candidates that the stages which cut by probability leave at least."""
    dry: Dry | None = None
    logit_bias: list[tuple[int, float]] = []
    """Added to the logits of these tokens, before all stages; -inf is a ban."""
    samplers: list[str] | None = None
    """Which stages of SAMPLERS are used, and in which order; None: all of them, in that order."""


class Embedding(msgspec.Struct, frozen=True):
    """The vector of the prompt is wanted, and no answer."""

    dimensions: int | None = None
    """So many of its first components; None: all."""


# --------------------------------------------------------------------------- gateway -> worker


class Generate(msgspec.Struct, frozen=True, tag="generate"):
    """One generation, or one embedding. ``(id, attempt)`` names it; a retried job keeps its id.

    ``resume`` holds the ids already sampled by an earlier attempt, whose text has been delivered:
    the worker goes on after them. ``now`` (Unix seconds) is what a template sees as the date, so
    that a resumed job renders the same prompt.
    """

    id: int
    attempt: int
    prompt: Prompt
    sampling: Sampling
    max_tokens: int | None
    stop: list[str]
    ignore_eos: bool
    now: float
    resume: list[int] = []
    priority: float = 1.0
    """The base priority: when cells run short, the largest gets them first."""
    rank: float = 0.0
    """Its place in the gateway's queue, in seconds: the smallest is computed first."""
    constraint: Constraint | None = None
    """What the answer must look like, beside what tools and reasoning ask for."""
    logprobs: int | None = None
    """How many alternatives of each sampled token to tell with their probabilities, if any."""
    echo: bool = False
    """Whether the text of the prompt comes first, with its logprobs if those are asked for."""
    cache_prompt: bool = True
    """Whether the prompt may start from cells that were computed for another request."""
    embedding: Embedding | None = None
    """Then nothing is generated: ``Finished`` brings the prompt's vector."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a generation. It is answered by ``Finished(reason="cancelled")``, unless it ended."""

    id: int


class Park(msgspec.Struct, frozen=True, tag="park"):
    """Take a generation off its slot and keep its cells. Answered by ``Parked``, unless it ended.

    A later ``Generate`` with the same id goes on where it stopped; ``Cancel`` gives it up. An
    embedding, which is short, keeps nothing and starts again.
    """

    id: int


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize"):
    """Which tokens are in a text? Answered with {"tokens": [...]}."""

    text: str
    add_special: bool
    """Whether to add what the model wants around a text, such as BOS."""
    parse_special: bool
    """Whether special tokens written in the text count as such."""
    pieces: bool
    """Whether to tell each token's text too, or its bytes where they are no UTF-8."""


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize"):
    """What do these tokens say? Answered with {"content": "..."}."""

    ids: list[int]


class ApplyTemplate(msgspec.Struct, frozen=True, tag="template"):
    """What prompt does this conversation become? Answered with {"prompt": "..."}."""

    chat: Chat
    now: float
    """Unix seconds: the date that the template sees."""


Question = Tokenize | Detokenize | ApplyTemplate


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A question that waits for no generation. Its ids are not those of generations."""

    id: int
    question: Question


ToWorker = Generate | Cancel | Park | Ask

# --------------------------------------------------------------------------- worker -> gateway


class ModelInfo(msgspec.Struct, frozen=True):
    """What a worker learned about its model while loading it."""

    name: str
    description: str
    n_params: int
    size_bytes: int
    n_vocab: int
    n_ctx_train: int
    n_ctx: int
    """KV cells of the worker, shared by its sequences."""
    n_ctx_seq: int
    """The most tokens one sequence (prompt and completion) may hold."""
    longest_piece: int
    """Bytes of the longest token: a prompt of more than n_ctx_seq times this cannot fit."""
    shares_prefixes: bool
    """Whether the model's memory lets sequences share the cells of a common prefix."""
    n_embd: int
    """Components of an embedding."""
    generates: bool = True
    """False: it looks to both sides of a token, and can only embed."""
    embeds: bool = True
    """False: it ranks pairs of texts instead."""
    notes: list[str] = []
    """What whoever serves it should know, a line each."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker can serve; it takes ``slots`` generations at once."""

    pid: int
    slots: int
    model: ModelInfo


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """The worker can't serve with this spec and trying again would not help."""

    message: str


class Violated(msgspec.Struct, frozen=True, tag="violated"):
    """The worker's own books do not add up: a bug. It ends, and a sound one takes its place."""

    message: str


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The process is alive, whatever its engine is doing."""


class Started(msgspec.Struct, frozen=True, tag="started", array_like=True):
    """A generation took a slot. ``cached_tokens`` of its prompt were already computed."""

    id: int
    attempt: int
    prompt_tokens: int
    cached_tokens: int


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
    """What a step brought beside plain text; most requests never have any."""

    reasoning: str = ""
    calls: list[CallDelta] = []
    logprobs: list[Logprob] = []
    echo: bool = False
    """Whether text and logprobs are the prompt's."""
    vector: bytes = b""
    """An embedding: little-endian float32, of length 1."""


class Delta(msgspec.Struct, frozen=True, tag="delta", array_like=True):
    """Tokens sampled and the text they released (maybe none: UTF-8 or a stop string is open)."""

    id: int
    attempt: int
    ids: list[int]
    text: str
    extra: Extra | None = None


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


class Parked(msgspec.Struct, frozen=True, tag="parked", array_like=True):
    """A generation left its slot; its cells stay as long as nobody else needs them."""

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


CONTEXT_OVERFLOW = "context_length_exceeded"
BAD_PROMPT = "invalid_prompt"
BAD_CONSTRAINT = "invalid_constraint"
BAD_PARAMETER = "invalid_request"
NOT_SUPPORTED = "model_not_supported"
COMPUTE_FAILED = "compute_failed"
FAILURES = frozenset(
    {
        CONTEXT_OVERFLOW,
        BAD_PROMPT,
        BAD_CONSTRAINT,
        BAD_PARAMETER,
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
    cells_cached: int = 0
    step_ms: float = 0.0
    host_bytes: int = 0
    """Host memory that saved prefixes take."""
    restored_tokens: int = 0
    """How many tokens came back from there, instead of being computed."""


class Step(msgspec.Struct, frozen=True, tag="step"):
    """What one decode step brought, for all sequences together; maybe only that it was done.

    ``load`` is None in the frame that refuses a prompt: that is not the engine speaking.
    """

    events: list[Event]
    load: Load | None


class Told(msgspec.Struct, frozen=True, tag="told"):
    """The answer to a question.

    It is JSON that the gateway passes on as it is: a long text has a million tokens, and to read
    and write so many objects would hold up everybody's streams there.
    """

    id: int
    json: bytes


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """A question that can't be answered; the fields are those of :class:`Failed`."""

    id: int
    code: str
    message: str
    param: str | None


Answer = Told | Declined
Report = Ready | Broken | Violated | Step
FromWorker = Report | Beat | Answer

# --------------------------------------------------------------------------- measuring


MIX_PROMPT, MIX_OUTPUT = 60, 32
"""Tokens of each request of the mix that ``forge tune`` measures: no two prompts alike."""


class Measure(msgspec.Struct, frozen=True):
    """``workers.measure`` is to measure, for about ``seconds``, one of three things.

    "decode": steps of one token for so many streams; "prefill": one prompt of so many tokens at
    once; "mix": the engine kept busy by so many clients.
    """

    what: str
    sizes: list[int]
    seconds: float


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """Tokens a second at a size; of a mix, tokens of output."""

    size: int
    tokens_per_s: float


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """The answer to :class:`Measure`. Sizes that would take too long are left out."""

    rates: list[Rate]
    memory: int
    """Bytes of the process; where the system tells, memory that is shared counts in parts (PSS)."""


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """``workers.measure`` is ready."""

    n_ctx: int
    """KV cells."""


class Unable(msgspec.Struct, frozen=True, tag="unable"):
    """It can't measure with this spec; one line that says why."""

    message: str


FromMeasurer = Loaded | Measured | Unable

# --------------------------------------------------------------------------- codec

MAX_FRAME = 256 * 1024 * 1024
_encoder = msgspec.msgpack.Encoder()

M = TypeVar("M", bound=msgspec.Struct)


class ProtocolError(Exception):
    """The other side sent bytes that are no message of this protocol."""


def encode(message: msgspec.Struct) -> bytes:
    """One message as a frame."""
    body = _encoder.encode(message)
    return len(body).to_bytes(4, "big") + body


class FrameDecoder(Generic[M]):
    """Bytes in, messages out; bytes may be cut anywhere.

    Raises :class:`ProtocolError` for a frame that is too large or is no message of ``type_``.
    """

    def __init__(self, type_: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(type_)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Take bytes as they come from the link; yield the messages they complete."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= 4:
                size = int.from_bytes(self._buffer[start : start + 4], "big")
                if size > MAX_FRAME:
                    raise ProtocolError(f"a frame of {size} bytes")
                end = start + 4 + size
                if len(self._buffer) < end:
                    break
                body = bytes(self._buffer[start + 4 : end])
                start = end
                yield self._decode(body)
        finally:
            del self._buffer[:start]

    def _decode(self, body: bytes) -> M:
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message of this protocol: {error}") from error
