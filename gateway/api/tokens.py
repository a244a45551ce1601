"""Tokens and templates without a generation, as llama-server offers them.

POST /tokenize, /detokenize and /apply-template are answered on a lane of their own, which waits
behind nobody's generation.
"""

import time
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api import body
from gateway.api.openai.messages import Message
from gateway.api.reply import unless_hung_up
from gateway.api.service import Service
from workers.protocol import ApplyTemplate, Chat, Detokenize, Question, Tokenize

MAX_BODY = 1 << 20
"""Bytes. The answer may be 25 times as long: a token for each byte, with its id and its piece."""
MAX_ID = 2**31 - 1
"""What llama.cpp has room for; the model's own limit is told by a worker."""


class _QuestionBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    model: str | None = None

    def question(self) -> Question:
        """What a worker is asked."""
        raise NotImplementedError


class TokenizeBody(_QuestionBody):
    content: str
    add_special: bool | None = None
    parse_special: bool | None = None
    with_pieces: bool | None = None

    def question(self) -> Question:
        return Tokenize(
            self.content,
            add_special=bool(self.add_special),
            parse_special=self.parse_special is not False,
            pieces=bool(self.with_pieces),
        )


class DetokenizeBody(_QuestionBody):
    tokens: list[Annotated[int, Field(ge=0, le=MAX_ID)]] = Field(fail_fast=True)

    def question(self) -> Question:
        return Detokenize(self.tokens)


class TemplateBody(_QuestionBody):
    messages: list[Message] = Field(min_length=1, fail_fast=True)

    def question(self) -> Question:
        return ApplyTemplate(Chat([message.plain() for message in self.messages]), time.time())


class Tokens:
    """The three endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("/tokenize", self.tokenize, methods=["POST"]),
            Route("/detokenize", self.detokenize, methods=["POST"]),
            Route("/apply-template", self.apply_template, methods=["POST"]),
        ]

    async def tokenize(self, request: Request) -> Response:
        return await self._answer(request, TokenizeBody)

    async def detokenize(self, request: Request) -> Response:
        return await self._answer(request, DetokenizeBody)

    async def apply_template(self, request: Request) -> Response:
        return await self._answer(request, TemplateBody)

    async def _answer(self, request: Request, type_: type[_QuestionBody]) -> Response:
        config = self._service.config
        raw, _ = await body.read(request, min(MAX_BODY, config.max_body), config.body_timeout)
        given = body.parse(type_, raw, {})
        self._service.check_model(given.model)
        self._service.check_serving()
        answer = await unless_hung_up(request.receive, self._service.pool.ask(given.question()))
        return Response(answer, media_type="application/json")
