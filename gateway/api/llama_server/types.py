"""The shapes of llama-server's answers: mypy holds the code to them, and the description shows
them."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from gateway.api.abilities import Abilities
from gateway.api.reply import Timings

StopType = Literal["none", "eos", "limit", "word"]


class Likely(TypedDict):
    id: int
    token: str
    bytes: list[int]
    logprob: NotRequired[float]
    prob: NotRequired[float]
    """In its place with `post_sampling_probs`."""


class Probability(Likely):
    """A token of the answer."""

    top_logprobs: NotRequired[list[Likely]]
    top_probs: NotRequired[list[Likely]]
    """In its place with `post_sampling_probs`."""


class ReadProgress(TypedDict):
    total: int
    """Tokens of the prompt."""
    cache: int
    """Tokens that were computed before."""
    processed: int
    """Tokens that are computed now, with these."""
    time_ms: int


class StreamPiece(TypedDict):
    """An event of a stream."""

    index: int
    content: str
    tokens: list[int]
    stop: Literal[False]
    id_slot: Literal[-1]
    tokens_predicted: int
    tokens_evaluated: int
    timings: NotRequired[Timings]
    prompt_progress: NotRequired[ReadProgress]
    completion_probabilities: NotRequired[list[Probability]]


class Completed(TypedDict, total=False):
    """The end of an answer; whole, unless it was streamed. With `response_fields` it has what these
    name, under their names."""

    index: int
    """Number of the answer among the request's."""
    content: str
    tokens: list[int]
    id_slot: Literal[-1]
    """The slots are a worker's own affair."""
    stop: Literal[True]
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    """Tokens of the prompt."""
    generation_settings: dict[str, Any]
    prompt: str
    """With the names of control tokens."""
    has_new_line: bool
    truncated: bool
    """True: the context is full."""
    stop_type: StopType
    stopping_word: str
    tokens_cached: int
    """Tokens whose state is kept for prompts that begin alike."""
    timings: Timings
    completion_probabilities: list[Probability]


class LlamaErrorDetail(TypedDict):
    code: int
    """The HTTP status."""
    message: str
    type: str
    reason: str
    """Forge's code for it, which is the same in all dialects."""
    param: NotRequired[str]
    """The field that is at fault."""
    n_prompt_tokens: NotRequired[int]
    """Of a prompt that is too long: its tokens, or so many at least."""
    n_ctx: NotRequired[int]
    """Of a prompt that is too long: the most tokens that the context holds."""


class LlamaError(TypedDict):
    error: LlamaErrorDetail


class DefaultSettings(TypedDict):
    params: dict[str, Any]
    """Parameters of a request that does not say otherwise."""
    n_ctx: int
    """Tokens that a sequence may have."""


class Props(TypedDict):
    """The properties of a server and of a model."""

    default_generation_settings: DefaultSettings
    total_slots: int
    """Sequences that the model takes at once."""
    model_alias: str
    model_ftype: str
    model_path: str
    """The name of its file alone."""
    modalities: dict[str, bool]
    abilities: Abilities | None
    """Forge's own."""
    media_marker: str
    endpoint_slots: bool
    endpoint_props: bool
    endpoint_metrics: bool
    ui: bool
    ui_settings: dict[str, Any]
    chat_template: str
    chat_template_caps: dict[str, bool]
    bos_token: str
    eos_token: str
    build_info: str
    is_sleeping: bool
    """True: it is not loaded now."""
    cors_proxy_enabled: bool


class NextToken(TypedDict):
    has_next_token: bool
    has_new_line: bool
    """Not told: always false."""
    n_remain: int
    """Tokens that the answer may still have; -1: what the context holds."""
    n_decoded: int


class Slot(TypedDict):
    id: int
    n_ctx: int
    speculative: bool
    is_processing: bool
    id_task: NotRequired[int]
    """This and what follows is told of a slot in use."""
    n_prompt_tokens: NotRequired[int]
    n_prompt_tokens_processed: NotRequired[int]
    n_prompt_tokens_cache: NotRequired[int]
    next_token: NotRequired[list[NextToken]]


class RawEmbedding(TypedDict):
    index: int
    embedding: list[list[float] | str]
    """The vector, alone in a list."""


class CountedTokens(TypedDict):
    object: Literal["response.input_tokens"]
    input_tokens: int
