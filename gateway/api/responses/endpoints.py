"""The dialect's endpoints that make a response, or count its tokens."""

import contextlib
import dataclasses
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api import body, urgency
from gateway.api.abilities import senses
from gateway.api.client import client_of
from gateway.api.endpoint import CONVERSATION, EVENTS, GENERATION, JSON, Body, Endpoint
from gateway.api.media import with_media
from gateway.api.mentioned_files import MENTIONING, with_files
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import COLLECTED, json_response, serve_ticket, unless_hung_up
from gateway.api.responses.archive import Archive, MadeResponse
from gateway.api.responses.background import BackgroundRun
from gateway.api.responses.body import InputBody, ResponseBody
from gateway.api.responses.generation import Generation
from gateway.api.responses.items import named
from gateway.api.responses.places import QueuePlaces
from gateway.api.responses.prompt import ReadInput, read_input
from gateway.api.responses.reading import read_body
from gateway.api.responses.response import created, in_own_names
from gateway.api.responses.stream import GenerationStream, LogStream
from gateway.api.responses.types import (
    InputTokens,
    ResponseEvent,
    ResponseObject,
)
from gateway.api.responses.writer import EventWriter
from gateway.api.service import Service
from gateway.api.truncation import count_tokens, truncated
from gateway.core.errors import (
    BadRequest,
    ForgeError,
    InvalidPrompt,
    ModelNotSupported,
    NotFound,
    PreviousResponseNotFound,
    QueueFull,
    StorageFull,
    Unavailable,
    UnknownModel,
    WorkerFailed,
)
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import longest_prompt

GROUP = "Responses"
EXAMPLE = {"input": "What is aging?", "max_output_tokens": 64}
BATCH = urgency.TIERS["flex"]
ROOT = "/v1/responses"
STORING = (StorageFull, Unavailable)
"""Errors of a store in a database."""
KEPT = (PreviousResponseNotFound, NotFound)
"""Errors of a request that goes on after what is stored."""
COUNTING = (InvalidPrompt, UnknownModel, QueueFull, Unavailable, WorkerFailed)


class Responses:
    """Responses: made, and kept."""

    def __init__(self, service: Service, archive: Archive) -> None:
        self._service = service
        self._archive = archive
        self._places: dict[str, QueuePlaces] = {}

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path=ROOT,
                handler=self.create_response,
                method="POST",
                group=GROUP,
                body=Body(type=ResponseBody, example=EXAMPLE),
                answers={JSON: ResponseObject, EVENTS: ResponseEvent},
                typed_events=True,
                failure=ErrorBody,
                fails=(
                    *GENERATION,
                    *CONVERSATION,
                    *MENTIONING,
                    *KEPT,
                    *STORING,
                    ModelNotSupported,
                    UnknownModel,
                ),
                queued="seeded",
            ),
            Endpoint(
                path=f"{ROOT}/input_tokens",
                handler=self.count_input_tokens,
                method="POST",
                group=GROUP,
                body=Body(type=InputBody, example={"input": "What is aging?"}),
                answers={JSON: InputTokens},
                failure=ErrorBody,
                fails=(*CONVERSATION, *MENTIONING, *KEPT, *COUNTING),
            ),
        ]

    # ------------------------------------------------------------------ made

    async def create_response(self, request: Request) -> Response:
        """The next items of a conversation.

        What is not served is ignored and named in `X-Ignored-Parameters`, tools included.
        """
        raw, size = await read_body(request, self._service, media=True)
        size += await with_files(self._service, request, raw)
        served, given = self._service.parse(request, ResponseBody, raw)
        given.check()
        if given.background and not self._archive.on:
            raise BadRequest("'background': this server stores nothing", param="background")
        read = await read_input(given, self._archive, request, senses(served))
        self._service.tell_ignored(request, raw)
        chat, more = await with_media(self._service, request, read.chat)
        read, size = dataclasses.replace(read, chat=chat), size + more
        if given.truncation == "auto":
            read = await self._truncated(request, served, read, given.limit())
        job = self._job(request, served, given, read, size)
        try:
            ticket = self._service.submit(request, job, served)
        except ForgeError as error:
            raise in_own_names(error, read.tools.paths) from None
        generation = self._generation(served, given, read, job, ticket)
        if given.background:
            return await self._behind(request, served, given, read, generation)

        async def ended() -> None:
            await self._ended(request, given, read, generation)

        if given.stream:
            return GenerationStream(served.dispatcher, generation, ended)
        await serve_ticket(served.dispatcher, ticket, request.receive, self._whole(generation))
        await ended()
        return json_response(generation.writer.response)

    async def count_input_tokens(self, request: Request) -> Response:
        """The tokens of an input, as a response to it would tell them."""
        raw, _ = await read_body(request, self._service, media=True)
        await with_files(self._service, request, raw)
        served, given = self._service.parse(request, InputBody, raw)
        given.check()
        # It needs neither, but says what makes no sense.
        urgency.priority(given.priority, request.headers, None)
        urgency.timeout(given.timeout, request.headers)
        read = await read_input(given, self._archive, request, senses(served))
        self._service.tell_ignored(request, raw)
        self._service.check_serving(served)
        chat, _ = await with_media(self._service, request, read.chat)
        asked = count_tokens(served, chat, client_of(request))
        count = await unless_hung_up(request.receive, asked)
        counted: InputTokens = {"object": "response.input_tokens", "input_tokens": count}
        return json_response(counted)

    async def _truncated(
        self, request: Request, served: ServedModel, read: ReadInput, limit: int | None
    ) -> ReadInput:
        """Return an input that fits the model's context."""
        self._service.check_serving(served)

        async def count(messages: list[dict[str, Any]]) -> int:
            chat = msgspec.structs.replace(read.chat, messages=messages)
            counted = count_tokens(served, chat, client_of(request))
            return await unless_hung_up(request.receive, counted)

        def most() -> int:
            model = served.pool.model  # known once it has been asked
            return longest_prompt(0 if model is None else model.n_ctx_seq, limit)

        messages = await truncated(read.chat.messages, most, count)
        chat = msgspec.structs.replace(read.chat, messages=messages)
        return dataclasses.replace(read, chat=chat)

    async def _whole(self, generation: Generation) -> None:
        """Wait for the end. Raises the ticket's error."""
        async for _ in generation.events(enough=COLLECTED, whole=True):
            pass

    def _job(
        self, request: Request, served: ServedModel, given: ResponseBody, read: ReadInput, size: int
    ) -> Job:
        return body.job(
            request,
            given,
            served.instructed((read.chat,)),
            model=served.name,
            size=size + read.earlier_size,
            temperature=1.0,
            max_tokens=given.limit(),
            tier=given.service_tier,
            usual=BATCH if given.background else None,
            constraint=given.constraint(),
            logprobs=given.alternatives(),
            kept="top_logprobs" if given.top_logprobs else "include",
        )

    def _generation(
        self, served: ServedModel, given: ResponseBody, read: ReadInput, job: Job, ticket: Ticket
    ) -> Generation:
        store = self._archive.on and given.store is not False
        id_ = f"resp_{ticket.request_id}"
        response = created(id_, given, job, served.name, store=store)
        writer = EventWriter(response, ticket.request_id, read.tools.called, given.wishes())
        places = self._places.get(served.name)
        if places is None or places.served is not served:  # it went and came back, under its name
            places = self._places[served.name] = QueuePlaces(served)
        return Generation(ticket, writer, places, self._service.config.keepalive, read.tools.paths)

    async def _behind(
        self,
        request: Request,
        served: ServedModel,
        given: ResponseBody,
        read: ReadInput,
        generation: Generation,
    ) -> Response:
        """Answer at once, and go on."""
        run = BackgroundRun(self._archive, request.state.key.name, served.dispatcher, generation)
        made = self._made(generation, read)
        made.log, made.stop = run.log, run.stop
        kept = False
        try:
            kept = await self._archive.keep(request.state.key.name, made)
        finally:
            if not kept:
                served.dispatcher.cancel(generation.ticket)
        if not kept:
            raise BadRequest("'background': there is no room to store it", param="background")
        run.log.add(generation.at_once())
        run.start(made, lambda: self._remember(request, given, read, generation))
        if given.stream:
            return LogStream(run.log.follow(-1, self._service.config.keepalive))
        return json_response(generation.writer.response)

    # ------------------------------------------------------------------ kept

    def _made(self, generation: Generation, read: ReadInput) -> MadeResponse:
        items = named(read.given, generation.ticket.request_id)
        return MadeResponse(generation.writer.response, items, read.link)

    async def _ended(
        self, request: Request, given: ResponseBody, read: ReadInput, generation: Generation
    ) -> None:
        """Keep what a response has become, where it is wanted."""
        if self._archive.on and given.store is not False:
            await self._archive.keep(request.state.key.name, self._made(generation, read))
        await self._remember(request, given, read, generation)

    async def _remember(
        self, request: Request, given: ResponseBody, read: ReadInput, generation: Generation
    ) -> None:
        """Add a response's items to its conversation, if it was completed and that is there.

        Of a request that is not to be stored nothing is kept there, either.
        """
        response = generation.writer.response
        if given.conversation_id is None or given.store is False:
            return
        if response["status"] not in ("completed", "incomplete"):
            return
        items = named(read.given, generation.ticket.request_id)
        items += [dict(item) for item in response["output"]]
        with contextlib.suppress(NotFound):
            await self._archive.add(request.state.key.name, given.conversation_id, items)
