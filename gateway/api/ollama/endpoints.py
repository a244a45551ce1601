"""The dialect's endpoints that compute: chat, generate, and two for embeddings."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api import body, token_ids
from gateway.api.client import client_of
from gateway.api.embeddings import check, gather
from gateway.api.endpoint import CONVERSATION, GENERATION, JSON, NDJSON, WORK, Body, Endpoint
from gateway.api.infer import Problem
from gateway.api.input_job import input_job
from gateway.api.ollama import names
from gateway.api.ollama.answer import ChatWriter, GenerateWriter, LineStream, head, message
from gateway.api.ollama.body import (
    OllamaBody,
    OllamaChatBody,
    OllamaEmbedBody,
    OllamaEmbeddingsBody,
    OllamaGenerateBody,
    OllamaGeneration,
)
from gateway.api.ollama.metrics import load_ns, total_ns
from gateway.api.ollama.options import DEFAULTS
from gateway.api.ollama.types import (
    OllamaChatChunk,
    OllamaEmbedding,
    OllamaEmbeddings,
    OllamaGenerateChunk,
    OllamaVersion,
)
from gateway.api.reply import collect, json_response, serve_ticket, unless_hung_up
from gateway.api.service import Service
from gateway.api.truncation import count_tokens, truncated
from gateway.core.errors import BadRequest, ModelNotSupported, UnknownModel
from gateway.dispatch.ticket import Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import Chat, Embedding, ModelInfo, Prompt, Text, longest_prompt

GROUP = "Ollama"
ASKED = [{"role": "user", "content": "What is aging?"}]
SHORT = {"num_predict": 64}
MOST_SHOWN = 200
"""Characters of a model's name that an error repeats."""
THOUGHTLESS = (None, False, "", "none")
"""Wishes that any model can fulfil."""
SLACK = 1024
"""Tokens that a template may add to the bytes of a conversation; with them it surely fits."""

Given = TypeVar("Given", bound=OllamaBody)


class Ollama:
    """Answers and vectors in Ollama's dialect."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        chat = {"messages": ASKED, "options": SHORT, "stream": False}
        generate = {"prompt": "Once upon a time", "options": SHORT, "stream": False}
        fails = (*GENERATION, *CONVERSATION, ModelNotSupported, UnknownModel)
        return [
            Endpoint(
                path="/api/chat",
                handler=self.ollama_chat,
                method="POST",
                group=GROUP,
                body=Body(type=OllamaChatBody, example=chat),
                answers={JSON: OllamaChatChunk, NDJSON: OllamaChatChunk},
                failure=Problem,
                fails=fails,
                queued="seeded",
            ),
            Endpoint(
                path="/api/generate",
                handler=self.ollama_generate,
                method="POST",
                group=GROUP,
                body=Body(type=OllamaGenerateBody, example=generate),
                answers={JSON: OllamaGenerateChunk, NDJSON: OllamaGenerateChunk},
                failure=Problem,
                fails=fails,
                queued="seeded",
            ),
            self._vectors("/api/embed", self.ollama_embed, OllamaEmbedBody, OllamaEmbeddings),
            self._vectors(
                "/api/embeddings", self.ollama_embeddings, OllamaEmbeddingsBody, OllamaEmbedding
            ),
            Endpoint(
                path="/api/version",
                handler=self.ollama_version,
                group=GROUP,
                answers={JSON: OllamaVersion},
                failure=Problem,
            ),
        ]

    def _vectors(
        self, path: str, handler: Any, type_: type[OllamaBody], answer: type[Any]
    ) -> Endpoint:
        field = "input" if type_ is OllamaEmbedBody else "prompt"
        return Endpoint(
            path=path,
            handler=handler,
            method="POST",
            group=GROUP,
            body=Body(type=type_, example={field: "what is 2+2?"}),
            answers={JSON: answer},
            failure=Problem,
            fails=(*WORK, ModelNotSupported, UnknownModel),
            queued="yes",
        )

    async def ollama_version(self, request: Request) -> Response:
        """The version of Ollama whose API is served, by which clients decide what they ask."""
        version: OllamaVersion = {"version": self._service.config.ollama_version}
        return json_response(version)

    # ------------------------------------------------------------------ answers

    async def ollama_chat(self, request: Request) -> Response:
        """The next message of a conversation, in Ollama's dialect.

        A conversation that is too long loses its oldest turns. Without messages the model is loaded
        or, with a `keep_alive` of 0, unloaded as soon as no other client counts on it.
        """
        served, given, asked, size = await self._read(request, OllamaChatBody)
        if not given.messages:
            return await self._settled(request, served, given, {"message": message()}, asked)
        chat = self._checked(given, given.chat(), served)
        if given.truncate is not False:
            chat = await self._shortened(request, served, given, chat, size)
        ticket = self._submit(request, served, given, chat, size)
        wants_logprobs = given.alternatives() is not None
        writer = ChatWriter(ticket, asked, logprobs=wants_logprobs)
        return await self._answer(request, served, given, ticket, writer)

    async def ollama_generate(self, request: Request) -> Response:
        """The answer to a prompt, in Ollama's dialect.

        A prompt that is too long loses what stands after its beginning. Without one the model is
        loaded or, with a `keep_alive` of 0, unloaded as soon as no other client counts on it.
        """
        served, given, asked, size = await self._read(request, OllamaGenerateBody)
        given.check()
        if given.empty:
            return await self._settled(request, served, given, {"response": ""}, asked)
        prompt = self._checked(given, given.input(), served)
        if given.context and served.pool.model is not None:
            token_ids.check(given.context, served.pool.model.n_vocab, "context")
        ticket = self._submit(request, served, given, prompt, size)
        wants_logprobs = given.alternatives() is not None
        writer = GenerateWriter(ticket, asked, logprobs=wants_logprobs)
        return await self._answer(request, served, given, ticket, writer)

    def _submit(
        self,
        request: Request,
        served: ServedModel,
        given: OllamaGeneration,
        prompt: Prompt,
        size: int,
    ) -> Ticket:
        options = given.chosen()
        job = body.job(
            request,
            options,
            served.instructed((prompt,)),
            model=served.name,
            size=size,
            temperature=DEFAULTS["temperature"],
            max_tokens=options.limit(),
            constraint=given.form(),
            logprobs=given.alternatives(),
            context=options.context(),
            cut_after=None if given.truncate is False else options.kept(),
            prompt_ids=isinstance(given, OllamaGenerateBody) and isinstance(prompt, Chat),
            keep_alive=given.keep_alive,
        )
        return self._service.submit(request, job, served)

    async def _answer(
        self,
        request: Request,
        served: ServedModel,
        given: OllamaGeneration,
        ticket: Ticket,
        writer: ChatWriter | GenerateWriter,
    ) -> Response:
        if given.stream is not False:
            keepalive = self._service.config.keepalive
            return LineStream(served.dispatcher, ticket, writer, keepalive)
        (completion,) = await collect(served.dispatcher, ticket, request.receive)
        return json_response(writer.whole(completion))

    def _checked(self, given: OllamaGeneration, prompt: Prompt, served: ServedModel) -> Prompt:
        """Return the prompt. Raises BadRequest for what the model can't do, once it is known."""
        model = served.pool.model
        if model is None:
            return prompt
        if given.think not in THOUGHTLESS and not model.thinks and model.generates:
            raise BadRequest(f'"{served.name}" does not support thinking', param="think")
        if not isinstance(prompt, Chat | Text) and not model.infills and model.generates:
            raise BadRequest(f'"{served.name}" does not support insert', param="suffix")
        return prompt

    async def _shortened(
        self,
        request: Request,
        served: ServedModel,
        given: OllamaChatBody,
        chat: Prompt,
        size: int,
    ) -> Prompt:
        """Return a conversation without the oldest turns for which there is no room.

        One of few bytes needs no look. Before a model is known, and where what is left is still
        too long, the worker cuts.
        """
        model, options = served.pool.model, given.chosen()
        if model is None or not isinstance(chat, Chat):
            return chat
        most = longest_prompt(_context(model, options.context()), options.limit())
        if size + SLACK <= most:
            return chat
        self._service.check_serving(served)
        client = client_of(request)

        async def count(messages: list[dict[str, Any]]) -> int:
            shorter = msgspec.structs.replace(chat, messages=messages)
            counted = count_tokens(served, shorter, client)
            return await unless_hung_up(request.receive, counted)

        messages = await truncated(chat.messages, lambda: most, count)
        return msgspec.structs.replace(chat, messages=messages)

    # ------------------------------------------------------------------ vectors

    async def ollama_embed(self, request: Request) -> Response:
        """Vectors of texts, in Ollama's dialect."""
        served, given, asked, size = await self._read(request, OllamaEmbedBody)
        inputs = list(given.input or ())  # a list, whatever the client wrote
        if not inputs:
            empty = {"model": asked, "embeddings": []}
            return json_response(
                {**empty, "total_duration": 0, "load_duration": 0, "prompt_eval_count": 0}
            )
        wanted = Embedding(given.dimensions, cut=given.truncate is not False)
        ticket, vectors = await self._embedded(request, served, given, inputs, wanted, size)
        return json_response(
            {
                "model": asked,
                "embeddings": vectors,
                "total_duration": total_ns(ticket),
                "load_duration": load_ns(ticket),
                "prompt_eval_count": ticket.usage.prompt,
            }
        )

    async def ollama_embeddings(self, request: Request) -> Response:
        """The vector of a text, as older clients of Ollama ask for it."""
        served, given, _, size = await self._read(request, OllamaEmbeddingsBody)
        if not given.prompt:
            return json_response({"embedding": []})
        wanted = Embedding(cut=True)
        _, vectors = await self._embedded(request, served, given, [given.prompt], wanted, size)
        return json_response({"embedding": vectors[0]})

    async def _embedded(
        self,
        request: Request,
        served: ServedModel,
        given: OllamaBody,
        inputs: list[str],
        wanted: Embedding,
        size: int,
    ) -> tuple[Ticket, list[Any]]:
        options = given.chosen()
        job = input_job(
            request,
            tuple(map(Text, inputs)),
            wanted,
            priority=options.priority,
            timeout=options.timeout,
            size=size,
            model=served.name,
            keep_alive=given.keep_alive,
        )
        check(job, served.pool.model)
        ticket = self._service.submit(request, job, served)
        work = gather(ticket, lambda _, vector: vector, as_text=False)
        return ticket, await serve_ticket(served.dispatcher, ticket, request.receive, work)

    # ------------------------------------------------------------------ what all have in common

    async def _read(
        self, request: Request, type_: type[Given]
    ) -> tuple[ServedModel, Given, str, int]:
        """Return the model, the body, the model's name as the client wrote it, and the bytes."""
        config, registry = self._service.config, self._service.registry
        raw, size = await body.read(request, config.max_body, config.body_timeout)
        asked = raw.get("model")
        if isinstance(asked, str):
            raw["model"] = names.own_name(asked, registry)
        try:
            served, given = self._service.parse(request, type_, raw)
        except UnknownModel as error:
            _, _, there_are = error.message.rpartition("; ")
            shown = str(asked)[:MOST_SHOWN]
            message = f"model '{shown}' not found; {there_are}"  # clients look for these words
            raise UnknownModel(message, param=error.param) from None
        # Here, too, for what asks nothing waits in no queue, which would refuse wrong ones.
        options = given.chosen()
        body.asked_priority(request, options.priority)
        body.timeout(options.timeout, request.headers)
        return served, given, asked if isinstance(asked, str) else served.name, size

    async def _settled(
        self,
        request: Request,
        served: ServedModel,
        given: OllamaGeneration,
        said: Mapping[str, Any],
        asked: str,
    ) -> Response:
        """Load or unload the model of a request that asks nothing."""
        client = client_of(request)
        if not given.leaves:
            self._service.check_serving()
            allowance = self._service.limits.of(request.state.key.name)
            request.state.allowance = allowance  # for the response's headers
            allowance.check()
            allowance.take_one()
            await unless_hung_up(request.receive, served.load(client))
        served.used(client, given.keep_alive)
        reason = "unload" if given.leaves else "load"
        return json_response({**head(asked), **said, "done": True, "done_reason": reason})


def _context(model: ModelInfo, wanted: int | None) -> int:
    """Return the most tokens of prompt and answer together."""
    return min(model.n_ctx_seq, wanted or model.n_ctx_seq)
