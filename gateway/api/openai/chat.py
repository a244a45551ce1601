"""/v1/chat/completions: from body to prompt, and from events to answers."""

from typing import Any

import orjson
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from gateway.api.body import unlimited
from gateway.api.field_table import CHAT
from gateway.api.openai.common import Envelope, OpenAIBody
from gateway.api.openai.conversation import Conversation
from gateway.api.openai.logprobs import token_json, token_logprob
from gateway.api.openai.prediction import Prediction
from gateway.api.openai.types import AnswerMessage as AnswerMessage
from gateway.api.openai.types import (
    ChatChoice,
    ChatChunkChoice,
    ChatDelta,
    ChatLogprobs,
    FinishReason,
    ToolCallDelta,
)
from gateway.api.other_names import ChatNames
from gateway.api.reply import Completion
from gateway.api.schemas import ResponseFormat, constraint
from gateway.core.errors import BadRequest
from workers.protocol import CallDelta, Constraint, Extra, Logprob, Prompt


class ChatBody(Conversation, OpenAIBody):
    place = CHAT

    max_completion_tokens: int | None = Field(None, ge=-1, le=2**31 - 1)
    """The newer name of `max_tokens`."""
    logprobs: bool | None = None
    """True: return the log probability of each token."""
    top_logprobs: int | None = Field(None, ge=0, le=20)
    """Number of alternatives of each token to tell too; needs `logprobs`."""
    response_format: ResponseFormat | None = None
    """Format that the answer must have."""
    prediction: Prediction | None = None
    """Text that the answer repeats for the most part: it comes faster, and is the same."""

    others: SkipJsonSchema[ChatNames | None] = None
    others_type = ChatNames

    @property
    def probabilities_field(self) -> str:
        """Return the field that asks for the probabilities of tokens."""
        return "top_logprobs" if self.top_logprobs else "logprobs"

    def check(self) -> None:
        super().check()
        if self.top_logprobs and not self.logprobs:
            message = "'top_logprobs' is only allowed when 'logprobs' is true"
            raise BadRequest(message, param="top_logprobs")

    def limit(self) -> int | None:
        newer, older = self.max_completion_tokens, self.max_tokens
        if newer is not None and older is not None and newer != older:
            raise BadRequest(
                "give either 'max_completion_tokens' or the older 'max_tokens', not both",
                param="max_tokens",
            )
        return unlimited(older if newer is None else newer)

    def prompts(self) -> tuple[Prompt, ...]:
        return (self.chat(),)

    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def predicted(self) -> str:
        return "" if self.prediction is None else self.prediction.text()

    def constraint(self) -> Constraint | None:
        return constraint(self.response_format, self.json_schema, self.grammar, self.asked())


class ChatEnvelope(Envelope):
    """The answer to a chat."""

    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _more_fields(self, given: OpenAIBody) -> dict[str, Any]:
        if given.service_tier is None:
            return {}
        return {"service_tier": "default" if given.service_tier == "auto" else given.service_tier}

    def _choice(self, index: int, completion: Completion) -> ChatChoice:
        message: AnswerMessage = {
            "role": "assistant",
            "content": completion.text or (None if completion.calls else ""),
            "refusal": None,
        }
        if completion.reasoning:
            message["reasoning_content"] = completion.reasoning
        if completion.calls:
            message["tool_calls"] = [
                {
                    "id": self._call_id(index, at),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for at, call in enumerate(completion.calls)
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(completion.logprobs),
            "finish_reason": finish_reason(completion.reason),
        }

    def _first(self, index: int) -> ChatChunkChoice:
        # No content, as where a stream ends: clients that look for a text find none, whether they
        # join all that is there (null would break them) or take each for a piece ("" would be one).
        return _chunk(index, {"role": "assistant"})

    def _piece(self, index: int, text: str, extra: Extra | None) -> ChatChunkChoice:
        delta: ChatDelta = {}
        if extra is not None and extra.reasoning:
            delta["reasoning_content"] = extra.reasoning
        if text or extra is None or not (extra.reasoning or extra.calls):
            delta["content"] = text
        if extra is not None and extra.calls:
            delta["tool_calls"] = [self._call(index, call) for call in extra.calls]
        found = extra.logprobs if extra is not None else []
        return _chunk(index, delta, self._logprobs([token_logprob(one) for one in found]))

    def _last(self, index: int, reason: str) -> ChatChunkChoice:
        return {
            "index": index,
            "delta": {},
            "logprobs": None,
            "finish_reason": finish_reason(reason),
        }

    def _call(self, choice: int, call: CallDelta) -> ToolCallDelta:
        if call.name is None:
            return {"index": call.index, "function": {"arguments": call.arguments}}
        return {
            "index": call.index,
            "id": self._call_id(choice, call.index),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }

    def _call_id(self, choice: int, call: int) -> str:
        """Made from the request's name, so that it survives the worker."""
        return f"call_{self._ticket.request_id}{choice:02x}{call:02x}"

    def probable(self, found: Logprob) -> orjson.Fragment:
        return token_json(found)

    def _logprobs(self, content: list[Any]) -> ChatLogprobs | None:
        return {"content": content, "refusal": None} if self._wants_logprobs else None


def _chunk(index: int, delta: ChatDelta, logprobs: ChatLogprobs | None = None) -> ChatChunkChoice:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}


def finish_reason(reason: str) -> FinishReason:
    """A worker's reason to end as OpenAI's; the names are the same."""
    if reason == "tool_calls":
        return "tool_calls"
    return "length" if reason == "length" else "stop"
