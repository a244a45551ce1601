"""The dialect's endpoints that generate, chat and generate, and the version that they are of."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api import body, token_ids
from gateway.api.abilities import senses
from gateway.api.endpoint import CONVERSATION, GENERATION, JSON, NDJSON, Body, Endpoint, Handler
from gateway.api.infer import Problem
from gateway.api.media import with_media
from gateway.api.ollama.answer import ChatWriter, GenerateWriter, LineStream, head, message
from gateway.api.ollama.body import OllamaChatBody, OllamaGenerateBody, OllamaGeneration
from gateway.api.ollama.options import DEFAULTS
from gateway.api.ollama.received import Received, receive
from gateway.api.ollama.types import OllamaChatChunk, OllamaGenerateChunk, OllamaVersion
from gateway.api.openai.logprobs import token_json
from gateway.api.reply import collect, json_response, unless_hung_up
from gateway.api.service import Service
from gateway.api.truncation import count_tokens, truncated
from gateway.core.errors import BadRequest, ModelNotSupported, UnknownModel
from gateway.dispatch.ticket import Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import Chat, ModelInfo, Prompt, Text, longest_prompt

GROUP = "Ollama"
ASKED = [{"role": "user", "content": "What is aging?"}]
SHORT = {"num_predict": 64}
THOUGHTLESS = (None, False, "", "none")
"""Wishes that any model can fulfil."""
SLACK = 1024
"""Tokens that a template may add to the bytes of a conversation; with them it surely fits."""


class Ollama:
    """Answers in Ollama's dialect."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        chat = Body(
            type=OllamaChatBody,
            example={"messages": ASKED, "options": SHORT, "stream": False},
        )
        generate = Body(
            type=OllamaGenerateBody,
            example={"prompt": "Once upon a time", "options": SHORT, "stream": False},
        )
        return [
            _generating("/api/chat", self.ollama_chat, chat, OllamaChatChunk),
            _generating("/api/generate", self.ollama_generate, generate, OllamaGenerateChunk),
            Endpoint(
                path="/api/version",
                handler=self.ollama_version,
                group=GROUP,
                answers={JSON: OllamaVersion},
                failure=Problem,
            ),
        ]

    async def ollama_version(self, request: Request) -> Response:
        """The version of Ollama whose API is served, by which clients decide what they ask."""
        version: OllamaVersion = {"version": self._service.config.ollama_version}
        return json_response(version)

    async def ollama_chat(self, request: Request) -> Response:
        """The next message of a conversation, in Ollama's dialect.

        A conversation that is too long loses its oldest turns. Without messages the model is loaded
        or, with a `keep_alive` of 0, unloaded as soon as no other client counts on it.
        """
        received = await receive(self._service, request, OllamaChatBody)
        given = received.given
        if not given.messages:
            return await self._settled(received, {"message": message()})
        chat, more = await with_media(self._service, received.request, given.chat())
        received = replace(received, size=received.size + more)
        prompt = _checked(given, chat, received.served)
        if given.truncate is not False:
            prompt = await self._shortened(received, prompt)
        ticket = self._submit(received, prompt)
        wants_logprobs = given.alternatives() is not None
        writer = ChatWriter(ticket, received.name, logprobs=wants_logprobs)
        return await self._answer(received, ticket, writer)

    async def ollama_generate(self, request: Request) -> Response:
        """The answer to a prompt, in Ollama's dialect.

        A prompt that is too long loses what stands after its beginning. Without one the model is
        loaded or, with a `keep_alive` of 0, unloaded as soon as no other client counts on it.
        """
        received = await receive(self._service, request, OllamaGenerateBody)
        given, model = received.given, received.served.pool.model
        given.check(senses(received.served))
        if given.empty:
            return await self._settled(received, {"response": ""})
        prompt = given.input()
        if isinstance(prompt, Chat):
            prompt, more = await with_media(self._service, received.request, prompt)
            received = replace(received, size=received.size + more)
        prompt = _checked(given, prompt, received.served)
        if given.context and model is not None:
            token_ids.check(given.context, model.n_vocab, "context")
        ticket = self._submit(received, prompt)
        wants_logprobs = given.alternatives() is not None
        writer = GenerateWriter(ticket, received.name, logprobs=wants_logprobs)
        return await self._answer(received, ticket, writer)

    def _submit(self, received: Received[OllamaGeneration], prompt: Prompt) -> Ticket:
        served, given = received.served, received.given
        options = given.chosen()
        job = body.job(
            received.request,
            options,
            served.instructed((prompt,)),
            model=served.name,
            size=received.size,
            temperature=DEFAULTS["temperature"],
            max_tokens=options.limit(),
            constraint=given.form(),
            logprobs=given.alternatives(),
            kept=given.kept(),
            context=options.context(),
            cut_after=None if given.truncate is False else options.kept(),
            prompt_ids=isinstance(given, OllamaGenerateBody) and isinstance(prompt, Chat),
            keep_alive=given.keep_alive,
        )
        return self._service.submit(received.request, job, served)

    async def _answer(
        self,
        received: Received[OllamaGeneration],
        ticket: Ticket,
        writer: ChatWriter | GenerateWriter,
    ) -> Response:
        dispatcher = received.served.dispatcher
        if received.given.stream is not False:
            return LineStream(dispatcher, ticket, writer, self._service.config.keepalive)
        (completion,) = await collect(dispatcher, ticket, received.request.receive, token_json)
        return json_response(writer.whole(completion))

    async def _shortened(self, received: Received[OllamaChatBody], chat: Prompt) -> Prompt:
        """Return a conversation without the oldest turns for which there is no room.

        One of few bytes needs no look. Before a model is known, and where what is left is still
        too long, the worker cuts.
        """
        served, options = received.served, received.given.chosen()
        model = served.pool.model
        if model is None or not isinstance(chat, Chat):
            return chat
        most = longest_prompt(_context(model, options.context()), options.limit())
        if received.size + SLACK <= most:
            return chat
        self._service.check_serving(served)

        async def count(messages: list[dict[str, Any]]) -> int:
            shorter = msgspec.structs.replace(chat, messages=messages)
            counted = count_tokens(served, shorter, received.client)
            return await unless_hung_up(received.request.receive, counted)

        messages = await truncated(chat.messages, lambda: most, count)
        return msgspec.structs.replace(chat, messages=messages)

    async def _settled(
        self, received: Received[OllamaGeneration], said: Mapping[str, Any]
    ) -> Response:
        """Load or unload the model of a request that asks nothing."""
        received.check_unqueued()
        request, served, given = received.request, received.served, received.given
        if not given.leaves:
            self._service.check_serving(served)
            allowance = self._service.limits.of(received.owner)
            request.state.allowance = allowance  # for the response's headers
            allowance.check()
            allowance.take_one()
            await unless_hung_up(request.receive, served.load(received.client))
        served.used(received.client, given.keep_alive)
        reason = "unload" if given.leaves else "load"
        return json_response({**head(received.name), **said, "done": True, "done_reason": reason})


def _generating(path: str, handler: Handler, body: Body, answer: type[Any]) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method="POST",
        group=GROUP,
        body=body,
        answers={JSON: answer, NDJSON: answer},
        failure=Problem,
        fails=(*GENERATION, *CONVERSATION, ModelNotSupported, UnknownModel),
        queued="seeded",
    )


def _checked(given: OllamaGeneration, prompt: Prompt, served: ServedModel) -> Prompt:
    """Return the prompt. Raises BadRequest for what the model can't do, once it is known."""
    model = served.pool.model
    if model is None:
        return prompt
    if given.think not in THOUGHTLESS and not model.thinks and model.generates:
        raise BadRequest(f'"{served.name}" does not support thinking', param="think")
    if not isinstance(prompt, Chat | Text) and not model.infills and model.generates:
        raise BadRequest(f'"{served.name}" does not support insert', param="suffix")
    return prompt


def _context(model: ModelInfo, wanted: int | None) -> int:
    """Return the most tokens of prompt and answer together."""
    return min(model.n_ctx_seq, wanted or model.n_ctx_seq)
