"""The shapes of the dialect's answers: mypy holds the code to them, the description shows them."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from gateway.api.openai.types import TokenLogprob

DoneReason = Literal["stop", "length", "load", "unload"]


class OllamaMetrics(TypedDict):
    """Counts of tokens, and durations in nanoseconds."""

    total_duration: int
    load_duration: int
    """Time until it had a slot: it waited for its turn, or for its model."""
    prompt_eval_count: int
    """Tokens of the prompt, those that were computed before included."""
    prompt_eval_cached_count: int
    """Number of those that were computed before: Forge's own field."""
    prompt_eval_duration: int
    eval_count: int
    """Tokens of the answer."""
    eval_duration: int


class CalledFunctionObject(TypedDict):
    index: int
    name: str
    arguments: dict[str, Any]


class OllamaCall(TypedDict):
    id: str
    function: CalledFunctionObject


class OllamaAnswerMessage(TypedDict):
    role: Literal["assistant"]
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[OllamaCall]]
    """Whole calls."""


class OllamaChunkHead(TypedDict):
    model: str
    """The name by which the client asked."""
    created_at: str


class OllamaChatChunk(OllamaChunkHead):
    """A line of a stream."""

    message: OllamaAnswerMessage
    done: bool
    done_reason: NotRequired[DoneReason]
    """Of the last line, as what follows."""
    logprobs: NotRequired[list[TokenLogprob]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_cached_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]


class OllamaGenerateChunk(OllamaChunkHead):
    """A line of a stream."""

    response: str
    thinking: NotRequired[str]
    done: bool
    done_reason: NotRequired[DoneReason]
    """Of the last line, as what follows."""
    context: NotRequired[list[int]]
    """The tokens of prompt and answer: a later prompt may go on after them."""
    logprobs: NotRequired[list[TokenLogprob]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_cached_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]


class OllamaEmbeddings(TypedDict):
    model: str
    embeddings: list[list[float]]
    """A vector of length 1 for each input, in their order."""
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OllamaEmbedding(TypedDict):
    embedding: list[float]
    """Of length 1, unlike Ollama's."""


class OllamaVersion(TypedDict):
    version: str
    """Of Ollama's API, as it is served."""
