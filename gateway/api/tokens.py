"""Tokens and templates without a generation, as llama-server offers them.

POST /tokenize, /detokenize and /apply-template are answered on a lane of their own, which waits
behind no generation.
"""

import time
from typing import Any, ClassVar, NotRequired

import msgspec
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api import json_body
from gateway.api.client import client_of
from gateway.api.endpoint import CONVERSATION, JSON, Body, Endpoint, Handler
from gateway.api.field_table import TEMPLATE
from gateway.api.media import with_media
from gateway.api.openai.conversation import Conversation
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import unless_hung_up
from gateway.api.service import Service
from gateway.api.token_ids import TokenId
from gateway.core.errors import (
    ForgeError,
    InvalidPrompt,
    QueueFull,
    Unavailable,
    UnknownModel,
    WorkerFailed,
)
from gateway.core.strict import STRICT
from gateway.served.served_model import ServedModel
from workers.protocol import ApplyTemplate, Detokenize, Question, Tokenize

MAX_BODY = 1 << 20
"""Bytes. The answer may be 25 times as long: a token for each byte, with its id and its piece."""


class _QuestionBody(BaseModel):
    model_config = STRICT

    model: str | None = None
    """The model's id; the first one if none is named."""

    def question(self, served: ServedModel) -> Question:
        """Return the question for a worker of that model."""
        raise NotImplementedError


class TokenizeBody(_QuestionBody):
    content: str
    """The text."""
    add_special: bool | None = None
    """True: begin as the model's prompts do. Default false."""
    parse_special: bool | None = None
    """False: text that looks like a special token is text. Default true."""
    with_pieces: bool | None = None
    """True: return each token's text too."""

    def question(self, served: ServedModel) -> Question:
        return Tokenize(
            self.content,
            add_special=bool(self.add_special),
            parse_special=self.parse_special is not False,
            pieces=bool(self.with_pieces),
        )


class DetokenizeBody(_QuestionBody):
    tokens: list[TokenId] = Field(fail_fast=True)
    """Their ids."""

    def question(self, served: ServedModel) -> Question:
        return Detokenize(self.tokens)


class TemplateBody(Conversation, _QuestionBody):
    place: ClassVar[str] = TEMPLATE

    def question(self, served: ServedModel) -> Question:
        return ApplyTemplate(served.shown(self.chat()), time.time())


class Piece(TypedDict):
    id: int
    piece: str | list[int]
    """The token's text, or its bytes if they are none by themselves."""


class Tokenized(TypedDict):
    tokens: list[int] | list[Piece]


class Detokenized(TypedDict):
    content: str


class Templated(TypedDict):
    prompt: str
    text_not_tokens: NotRequired[list[str]]
    """Control tokens whose text the conversation brought: a tokeniser takes it for the tokens."""


class TokenEndpoints:
    """The three endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        messages = [{"role": "user", "content": "hello"}]
        return [
            _post(
                "/tokenize",
                self.tokenize,
                Body(type=TokenizeBody, example={"content": "hello", "with_pieces": True}),
                Tokenized,
            ),
            _post(
                "/detokenize",
                self.detokenize,
                Body(type=DetokenizeBody, example={"tokens": [42, 43]}),
                Detokenized,
            ),
            _post(
                "/apply-template",
                self.apply_template,
                Body(type=TemplateBody, example={"messages": messages}),
                Templated,
                CONVERSATION,
            ),
        ]

    async def tokenize(self, request: Request) -> Response:
        """The tokens of a text."""
        return await self._answer(request, TokenizeBody)

    async def detokenize(self, request: Request) -> Response:
        """The text of tokens."""
        return await self._answer(request, DetokenizeBody)

    async def apply_template(self, request: Request) -> Response:
        """The prompt that a conversation becomes."""
        return await self._answer(request, TemplateBody)

    async def _answer(self, request: Request, type_: type[_QuestionBody]) -> Response:
        config = self._service.config
        raw, _ = await json_body.read(request, min(MAX_BODY, config.max_body), config.body_timeout)
        served, given = self._service.parse(request, type_, raw)
        self._service.check_serving(served)
        question = await self._question(request, served, given)
        answer = await unless_hung_up(request.receive, served.ask(question, client_of(request)))
        return Response(answer, media_type="application/json")

    async def _question(
        self, request: Request, served: ServedModel, given: _QuestionBody
    ) -> Question:
        question = given.question(served)
        if not isinstance(question, ApplyTemplate):
            return question
        chat, _ = await with_media(self._service, request, question.chat)
        return msgspec.structs.replace(question, chat=chat)


def _post(
    path: str,
    handler: Handler,
    body: Body,
    answer: Any,
    fails: tuple[type[ForgeError], ...] = (),
) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method="POST",
        group="TokenEndpoints",
        body=body,
        answers={JSON: answer},
        failure=ErrorBody,
        fails=(*fails, InvalidPrompt, UnknownModel, QueueFull, Unavailable, WorkerFailed),
    )
