"""The shapes of OpenAI's answers: mypy holds the code to them, and the description shows them."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from gateway.api.abilities import Abilities, Architecture
from gateway.api.llama_server.types import Completed, ReadProgress
from gateway.api.reply import Timings
from gateway.core.usage import OpenAIUsage
from gateway.served.load_policy import State

Verbose = TypedDict("Verbose", {"__verbose": NotRequired[Completed]})
"""llama-server's addition, if it is asked for."""

FinishReason = Literal["stop", "length", "tool_calls"]


class FunctionCall(TypedDict):
    name: str
    arguments: str
    """JSON, valid against the function's schema unless the answer was cut off."""


class ToolCall(TypedDict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class AnswerMessage(TypedDict):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]


class TokenAlternative(TypedDict):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TokenAlternative):
    top_logprobs: list[TokenAlternative]


class ChatLogprobs(TypedDict):
    content: list[TokenLogprob]
    refusal: None


class ChatChoice(TypedDict):
    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Verbose):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: NotRequired[str]
    choices: list[ChatChoice]
    usage: OpenAIUsage
    timings: NotRequired[Timings]


class FunctionDelta(TypedDict):
    name: NotRequired[str]
    arguments: str


class ToolCallDelta(TypedDict):
    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: FunctionDelta


class ChatDelta(TypedDict):
    role: NotRequired[Literal["assistant"]]
    content: NotRequired[str]
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCallDelta]]


class ChatChunkChoice(TypedDict):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunk(Verbose):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    service_tier: NotRequired[str]
    choices: list[ChatChunkChoice]
    usage: NotRequired[OpenAIUsage | None]
    timings: NotRequired[Timings]
    prompt_progress: NotRequired[ReadProgress]


class CompletionLogprobs(TypedDict):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason


class TextCompletion(Verbose):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: OpenAIUsage
    timings: NotRequired[Timings]


class CompletionChunkChoice(TypedDict):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class CompletionChunk(Verbose):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChunkChoice]
    usage: NotRequired[OpenAIUsage | None]
    timings: NotRequired[Timings]
    prompt_progress: NotRequired[ReadProgress]


class ModelMeta(TypedDict):
    description: str
    n_params: int
    size: int
    """Bytes of the weights."""
    n_vocab: int
    n_embd: int
    n_ctx_train: int
    """Tokens of context that it was trained for."""
    n_ctx: int
    """Tokens that a sequence may have here."""
    abilities: Abilities


class ModelCard(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: State
    meta: ModelMeta | None
    """Null until it was loaded for the first time."""
    root: str
    """The name of its file."""
    parent: str | None
    """The model that it is a LoRA adapter of, if it is one."""
    architecture: Architecture
    type: Literal["model"]
    """This and what follows is for clients of Anthropic's."""
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    max_input_tokens: int | None
    """Tokens that a sequence may have here; null until it was loaded for the first time."""
    max_tokens: int | None
    """The same: prompt and answer share them."""


Capability = Literal["completion", "multimodal", "embedding"]


class BriefCard(TypedDict):
    """A model in a few words, as llama-server has it beside the cards."""

    name: str
    model: str
    """The same."""
    type: Literal["model"]
    capabilities: list[Capability]
    """`multimodal`: it takes pictures or sound."""


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[ModelCard]
    models: list[BriefCard]
    """The same ones, for clients of llama-server's."""
    has_more: Literal[False]
    """All models are on one page. This and what follows is for clients of Anthropic's."""
    first_id: str | None
    last_id: str | None
