"""The dialect's endpoints that compute something."""

import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.api import body, urgency
from gateway.api.client import client_of
from gateway.api.endpoint import CONVERSATION, EVENTS, GENERATION, JSON, Body, Endpoint
from gateway.api.llama_server.answer import LlamaWriter
from gateway.api.llama_server.body import (
    TEMPERATURE,
    InfillBody,
    LlamaBody,
    LlamaCompletionBody,
)
from gateway.api.llama_server.types import Completed, CountedTokens, LlamaError, StreamPiece
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import COLLECTED, json_response, serve_ticket, unless_hung_up
from gateway.api.service import Service
from gateway.api.sse import EventStream
from gateway.core.errors import (
    InvalidPrompt,
    ModelNotSupported,
    QueueFull,
    Unavailable,
    UnknownModel,
    WorkerFailed,
)
from gateway.dispatch.ticket import Ticket
from workers.protocol import CountTokens

GROUP = "llama-server"
Some = Completed | dict[str, Any]
"""An answer, or the fields of one that are wanted."""
PROMPT = {"prompt": "Once upon a time", "n_predict": 24, "temperature": 0}
GAP = {"input_prefix": "def add(a, b):\n    return ", "input_suffix": "\n", "n_predict": 24}


class LlamaServer:
    """Completions, gaps to fill, and the tokens of a chat."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            *(
                Endpoint(
                    path=path,
                    handler=handler,
                    method="POST",
                    group=GROUP,
                    body=Body(type=type_, example=example),
                    answers={JSON: Some | list[Some], EVENTS: StreamPiece | Some},
                    ends=False,
                    failure=LlamaError,
                    fails=(*GENERATION, ModelNotSupported, UnknownModel),
                    queued="seeded",
                )
                for path, handler, type_, example in (
                    ("/completion", self.complete, LlamaCompletionBody, PROMPT),
                    ("/infill", self.infill, InfillBody, GAP),
                )
            ),
            Endpoint(
                path="/v1/chat/completions/input_tokens",
                handler=self.count_chat_tokens,
                method="POST",
                group=GROUP,
                body=Body(type=ChatBody, example={"messages": [{"role": "user", "content": "hi"}]}),
                answers={JSON: CountedTokens},
                failure=ErrorBody,
                fails=(
                    *CONVERSATION, InvalidPrompt, UnknownModel, QueueFull, Unavailable, WorkerFailed
                ),
            ),
        ]  # fmt: skip

    async def complete(self, request: Request) -> Response:
        """Continue a text, in llama-server's form.

        `id_slot` is refused: a request goes to the worker that has most of its prompt, and slots
        come and go with workers.
        """
        return await self._generate(request, LlamaCompletionBody)

    async def infill(self, request: Request) -> Response:
        """Fill a gap in a text, as editors ask for it.

        The model needs tokens for infilling. The prompt is llama-server's, token by token; of what
        is too long for the context, the part that is farthest from the gap is left out.
        """
        return await self._generate(request, InfillBody)

    async def count_chat_tokens(self, request: Request) -> Response:
        """The tokens of a conversation, as a chat with it would have them in its prompt."""
        raw, _ = await self._service.read(request)
        served, given = self._service.parse(request, ChatBody, raw)
        urgency.asked_priority(request, given.priority)
        self._service.check_serving(served)
        question = CountTokens(served.with_system(given.chat()), time.time())
        asked = served.ask(question, client_of(request))
        answer = orjson.loads(await unless_hung_up(request.receive, asked))
        counted: CountedTokens = {
            "object": "response.input_tokens",
            "input_tokens": answer["input_tokens"],
        }
        return json_response(counted)

    async def _generate(self, request: Request, type_: type[LlamaBody]) -> Response:
        raw, size = await self._service.read(request)
        served, given = self._service.parse(request, type_, raw)
        job = body.job(
            request,
            given,
            given.prompts(),
            model=served.name,
            n=given.n_cmpl or 1,
            size=size,
            temperature=TEMPERATURE,
            max_tokens=given.limit(),
            constraint=given.constraint(),
            logprobs=given.alternatives(),
            kept=given.kept(),
        )
        ticket = self._service.submit(request, job, served)
        writer = LlamaWriter(ticket, served, given)
        if given.stream:
            return EventStream(served.dispatcher, ticket, writer, self._service.config.keepalive)
        await serve_ticket(served.dispatcher, ticket, request.receive, _finish(ticket, writer))
        return json_response(writer.whole())


async def _finish(ticket: Ticket, writer: LlamaWriter) -> None:
    """Take all events of a request. Raises the ticket's error."""
    while not writer.ended:
        for event in await ticket.take(enough=COLLECTED):
            writer.take(event)
