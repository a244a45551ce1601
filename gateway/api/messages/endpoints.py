"""The dialect's endpoints."""

import time

from starlette.requests import Request
from starlette.responses import Response

from gateway.api import body
from gateway.api.client import client_of
from gateway.api.endpoint import CONVERSATION, EVENTS, GENERATION, JSON, Body, Endpoint
from gateway.api.media import with_media
from gateway.api.mentioned_files import MENTIONING, with_files
from gateway.api.messages.answer import MessageWriter
from gateway.api.messages.body import CountTokensBody, MessagesBody
from gateway.api.messages.errors import PATH, MessagesError, named
from gateway.api.messages.types import MessageEvent, MessageObject, TokenCount
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

GROUP = "Messages"
ASKED = [{"role": "user", "content": "What is aging?"}]


class Messages:
    """Messages and their tokens."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path=PATH,
                handler=self.create_message,
                method="POST",
                group=GROUP,
                body=Body(type=MessagesBody, example={"messages": ASKED, "max_tokens": 64}),
                answers={JSON: MessageObject, EVENTS: MessageEvent},
                failure=MessagesError,
                fails=(*GENERATION, *CONVERSATION, *MENTIONING, ModelNotSupported, UnknownModel),
                queued="seeded",
                typed_events=True,
            ),
            Endpoint(
                path=f"{PATH}/count_tokens",
                handler=self.count_message_tokens,
                method="POST",
                group=GROUP,
                body=Body(type=CountTokensBody, example={"messages": ASKED}),
                answers={JSON: TokenCount},
                failure=MessagesError,
                fails=(
                    *CONVERSATION,
                    *MENTIONING,
                    InvalidPrompt,
                    UnknownModel,
                    QueueFull,
                    Unavailable,
                    WorkerFailed,
                ),
            ),
        ]

    async def create_message(self, request: Request) -> Response:
        """The next message of a conversation, in Anthropic's dialect."""
        raw, size = await self._service.read(request, media=True)
        size += await with_files(self._service, request, raw)
        served, given = self._service.parse(request, MessagesBody, raw)
        chat, more = await with_media(self._service, request, given.chat())
        job = body.job(
            request,
            given,
            served.instructed((chat,)),
            model=served.name,
            size=size + more,
            temperature=1.0,
            max_tokens=given.limit(),
            constraint=given.form(),
        )
        ticket = self._service.submit(request, job, served)
        writer = MessageWriter(ticket, served.name, given)
        response: Response
        if given.stream:
            keepalive = self._service.config.keepalive
            response = EventStream(served.dispatcher, ticket, writer, keepalive)
        else:
            work = _finish(ticket, writer)
            await serve_ticket(served.dispatcher, ticket, request.receive, work)
            response = json_response(writer.whole())
        response.headers["request-id"] = named(ticket.request_id)
        return response

    async def count_message_tokens(self, request: Request) -> Response:
        """The tokens of a conversation, as a request with it would have them in its prompt."""
        raw, _ = await self._service.read(request, media=True)
        await with_files(self._service, request, raw)
        served, given = self._service.parse(request, CountTokensBody, raw)
        self._service.check_serving(served)
        chat, _ = await with_media(self._service, request, given.chat())
        question = CountTokens(served.with_system(chat), time.time())
        answer = await unless_hung_up(request.receive, served.ask(question, client_of(request)))
        return Response(answer, media_type=JSON)


async def _finish(ticket: Ticket, writer: MessageWriter) -> None:
    """Take all events of a generation. Raises the ticket's error."""
    while not writer.ended:
        for event in await ticket.take(enough=COLLECTED):
            writer.take(event)
