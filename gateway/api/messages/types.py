"""The shapes of the dialect's answers: mypy holds the code to them, the description shows them."""

from typing import Any, Literal

from typing_extensions import TypedDict

MessageStop = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class MessageUsage(TypedDict):
    """Token counts. All of the prompt: `input_tokens` and those read from the cache."""

    input_tokens: int
    """Tokens of the prompt that were computed."""
    cache_creation_input_tokens: int
    """0: what is computed is cached without an order to do so."""
    cache_read_input_tokens: int
    """Tokens of the prompt that were computed before."""
    output_tokens: int


class TextAnswer(TypedDict):
    type: Literal["text"]
    text: str


class ThinkingAnswer(TypedDict):
    type: Literal["thinking"]
    thinking: str
    signature: str
    """To be sent back with the thought. It is not verified."""


class ToolUseAnswer(TypedDict):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]
    """Valid against the tool's schema unless the answer was cut off."""


AnswerBlock = TextAnswer | ThinkingAnswer | ToolUseAnswer


class MessageObject(TypedDict):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnswerBlock]
    stop_reason: MessageStop | None
    stop_sequence: str | None
    """The one of `stop_sequences` that ended the answer."""
    usage: MessageUsage


class MessageStartEvent(TypedDict):
    type: Literal["message_start"]
    message: MessageObject


class PingEvent(TypedDict):
    type: Literal["ping"]


class BlockStartEvent(TypedDict):
    type: Literal["content_block_start"]
    index: int
    content_block: AnswerBlock


class TextDelta(TypedDict):
    type: Literal["text_delta"]
    text: str


class ThinkingDelta(TypedDict):
    type: Literal["thinking_delta"]
    thinking: str


class SignatureDelta(TypedDict):
    type: Literal["signature_delta"]
    signature: str


class InputJsonDelta(TypedDict):
    type: Literal["input_json_delta"]
    partial_json: str


class BlockDeltaEvent(TypedDict):
    type: Literal["content_block_delta"]
    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class BlockStopEvent(TypedDict):
    type: Literal["content_block_stop"]
    index: int


class MessageEnd(TypedDict):
    stop_reason: MessageStop
    stop_sequence: str | None


class MessageDeltaEvent(TypedDict):
    type: Literal["message_delta"]
    delta: MessageEnd
    usage: MessageUsage
    """Of the whole answer, not of what came since the last event."""


class MessageStopEvent(TypedDict):
    type: Literal["message_stop"]


BlockEvent = BlockStartEvent | BlockDeltaEvent | BlockStopEvent
MessageEvent = MessageStartEvent | PingEvent | BlockEvent | MessageDeltaEvent | MessageStopEvent


class TokenCount(TypedDict):
    input_tokens: int
    """Tokens of the prompt: of messages, instructions and tools."""
