"""OpenAI's dialect: /v1/chat/completions, /v1/completions, /v1/models."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import __version__
from gateway.api import body
from gateway.api.reply import Completion, collect, json_response
from gateway.api.service import Service
from gateway.api.sse import EventStream
from gateway.errors import BadRequest, ForgeError, UnknownModel
from gateway.ticket import ClientEvent, Ticket
from workers.protocol import Chat, Finished, Prompt, Started, Text

FINGERPRINT = f"forge-{__version__}"
COMPLETION_TOKENS = 16
"""OpenAI's default for /v1/completions."""
MAX_CHOICES = 128
"""Most completions of one prompt, as in OpenAI's API."""
MAX_FIELDS = 64
"""Most fields of an object inside a body."""
MAX_SEQUENCES = 256
"""Most generations of one request: prompts times n."""


class _Nested(BaseModel):
    """An object inside a body."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few(cls, value: Any) -> Any:
        """Each unknown field would become an error of its own, and a body has room for many."""
        if isinstance(value, dict) and len(value) > MAX_FIELDS:
            message = f"an object may have {MAX_FIELDS} fields at most"
            raise PydanticCustomError("too_many_fields", message)
        return value


class _Part(_Nested):
    type: Literal["text"]
    text: str


class _Message(_Nested):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[_Part], Field(min_length=1, fail_fast=True)]
    name: str | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """The message as templates read it: one string, and "system" for OpenAI's newer name."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        role = "system" if self.role == "developer" else self.role
        optional = {"name": self.name, "tool_call_id": self.tool_call_id}
        given = {key: value for key, value in optional.items() if value is not None}
        return {"role": role, "content": text, **given}


class _StreamOptions(_Nested):
    include_usage: bool | None = None


class _OpenAIBody(body.SamplingBody):
    model: str | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    user: str | None = None  # names the end user for abuse reports; asks for nothing

    def check(self) -> None:
        if self.stream_options is not None and not self.stream:
            param = "stream_options"
            raise BadRequest(f"'{param}' is only allowed when 'stream' is true", param=param)

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatBody(_OpenAIBody):
    messages: list[_Message] = Field(min_length=1, fail_fast=True)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31 - 1)

    def limit(self) -> int | None:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise BadRequest(
                "give either 'max_completion_tokens' or the older 'max_tokens', not both",
                param="max_tokens",
            )
        return self.max_completion_tokens or self.max_tokens

    def prompts(self) -> tuple[Prompt, ...]:
        return (Chat([message.plain() for message in self.messages]),)


class CompletionBody(_OpenAIBody):
    prompt: str | Annotated[list[str], Field(min_length=1, fail_fast=True)]

    def limit(self) -> int | None:
        return self.max_tokens or COMPLETION_TOKENS

    def prompts(self) -> tuple[Prompt, ...]:
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if len(texts) * (self.n or 1) > MAX_SEQUENCES:
            message = f"prompts times 'n' may be {MAX_SEQUENCES} at most"
            raise BadRequest(message, param="prompt")
        return tuple(map(Text, texts))


# Known to OpenAI's API and not served here, with the values that ask for nothing.
_NOT_YET: dict[str, tuple[Any, ...]] = {"logit_bias": ({},), "metadata": ({},)}
CHAT_NOT_YET: dict[str, tuple[Any, ...]] = {
    **_NOT_YET,
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "prompt_cache_key": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "safety_identifier": (),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
COMPLETION_NOT_YET: dict[str, tuple[Any, ...]] = {
    **_NOT_YET,
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (),
    "suffix": ("",),
}


def error_body(error: ForgeError) -> dict[str, Any]:
    """OpenAI's error shape."""
    content: dict[str, Any] = {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
    if error.usage is not None:
        content["usage"] = error.usage.openai()
    return content


def error_response(error: ForgeError) -> Response:
    return json_response(error_body(error), error.status, error.retry_after)


class _Envelope:
    """What the two endpoints' answers have in common, whole or in chunks."""

    def __init__(self, ticket: Ticket, model: str, given: _OpenAIBody) -> None:
        self._ticket = ticket
        self._open = len(ticket.sequences)
        """Choices that a stream has not finished yet."""
        self._wants_usage = given.wants_usage
        self._chat = isinstance(given, ChatBody)
        prefix, kind = (
            ("chatcmpl", "chat.completion") if self._chat else ("cmpl", "text_completion")
        )
        self._fields: dict[str, Any] = {
            "id": f"{prefix}-{ticket.request_id}",
            "object": kind,
            "created": int(ticket.job.created),
            "model": model,
            "system_fingerprint": FINGERPRINT,
        }
        if given.service_tier is not None and self._chat:
            tier = "default" if given.service_tier == "auto" else given.service_tier
            self._fields["service_tier"] = tier
        chunk = {**self._fields, "object": f"{kind}.chunk" if self._chat else kind}
        # The constant part of every chunk is serialised once.
        self._head = b"data: " + orjson.dumps(chunk)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if self._wants_usage else b"]}\n\n"

    # A whole answer.

    def whole(self, completions: list[Completion]) -> dict[str, Any]:
        choices = [self._choice(index, found) for index, found in enumerate(completions)]
        return {**self._fields, "choices": choices, "usage": self._ticket.usage.openai()}

    def _choice(self, index: int, completion: Completion) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": index,
            "logprobs": None,
            "finish_reason": completion.reason,
        }
        if self._chat:
            choice["message"] = {"role": "assistant", "content": completion.text, "refusal": None}
        else:
            choice["text"] = completion.text
        return choice

    # A stream: implements gateway.api.sse.Renderer.

    def event(self, event: ClientEvent) -> bytes:
        index = self._ticket.index(event)
        if isinstance(event, Started):
            role = {"role": "assistant", "content": ""}
            return self._chunk(index, role, None) if self._chat else b""
        delta = {"content": event.text} if self._chat else event.text
        text = self._chunk(index, delta, None) if event.text else b""
        if not isinstance(event, Finished):
            return text
        text += self._chunk(index, {} if self._chat else "", event.reason)
        self._open -= 1
        if self._open:
            return text
        return text + (self._usage() if self._wants_usage else b"") + b"data: [DONE]\n\n"

    def error(self, error: ForgeError) -> bytes:
        return b"event: error\ndata: " + orjson.dumps(error_body(error)) + b"\n\n"

    def refusal(self, error: ForgeError) -> Response:
        return error_response(error)

    def _chunk(self, index: int, delta: dict[str, str] | str, reason: str | None) -> bytes:
        choice = {
            "index": index,
            "delta" if self._chat else "text": delta,
            "logprobs": None,
            "finish_reason": reason,
        }
        return self._head + orjson.dumps(choice) + self._tail

    def _usage(self) -> bytes:
        usage = orjson.dumps(self._ticket.usage.openai())
        return self._head + b'],"usage":' + usage + b"}\n\n"


class OpenAI:
    """The dialect's endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
        ]

    async def chat(self, request: Request) -> Response:
        config = self._service.config
        raw, size = await body.read(request, config.max_body, config.body_timeout)
        return await self._generate(request, body.parse(ChatBody, raw, CHAT_NOT_YET), size)

    async def completions(self, request: Request) -> Response:
        config = self._service.config
        raw, size = await body.read(request, config.max_body, config.body_timeout)
        given = body.parse(CompletionBody, raw, COMPLETION_NOT_YET)
        return await self._generate(request, given, size)

    async def _generate(
        self, request: Request, given: ChatBody | CompletionBody, size: int
    ) -> Response:
        given.check()
        self._check_model(given.model)
        job = body.job(
            request,
            given,
            given.prompts(),
            n=given.n or 1,
            size=size,
            temperature=1.0,
            max_tokens=given.limit(),
            tier=given.service_tier,
        )
        ticket = self._service.submit(request, job)
        envelope = _Envelope(ticket, self._service.config.model_name, given)
        dispatcher = self._service.dispatcher
        if given.stream:
            return EventStream(dispatcher, ticket, envelope, self._service.config.keepalive)
        completions = await collect(dispatcher, ticket, request.receive)
        return json_response(envelope.whole(completions))

    async def models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        self._check_model(request.path_params["name"])
        return json_response(self._card())

    def _check_model(self, name: str | None) -> None:
        served = self._service.config.model_name
        if name is not None and name != served:
            raise UnknownModel(
                f"the model '{name}' does not exist; this server has '{served}'", param="model"
            )

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._service.config.model_name,
            "object": "model",
            "created": self._service.started,
            "owned_by": "forge",
        }
