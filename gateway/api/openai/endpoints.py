"""The dialect's endpoints."""

from starlette.requests import Request
from starlette.responses import Response

from gateway.api import body
from gateway.api.endpoint import CONVERSATION, EVENTS, GENERATION, JSON, Body, Endpoint
from gateway.api.media import with_media
from gateway.api.mentioned_files import MENTIONING, with_files
from gateway.api.openai.asides import Asides
from gateway.api.openai.cards import brief_card, model_card
from gateway.api.openai.chat import ChatBody, ChatEnvelope
from gateway.api.openai.completions import CompletionBody, CompletionEnvelope
from gateway.api.openai.errors import ErrorBody
from gateway.api.openai.types import (
    ChatChunk,
    ChatCompletion,
    CompletionChunk,
    ModelCard,
    ModelList,
    TextCompletion,
)
from gateway.api.reply import collect, json_response
from gateway.api.service import Service
from gateway.api.sse import EventStream
from gateway.core.errors import ModelNotSupported, UnknownModel
from gateway.served.listing import ListedModel, of_served
from gateway.served.served_model import ServedModel
from workers.protocol import Prompt

GROUP = "OpenAI"
CHAT_EXAMPLE = {"messages": [{"role": "user", "content": "What is aging?"}], "max_tokens": 64}
COMPLETION_EXAMPLE = {"prompt": "Once upon a time", "max_tokens": 24, "temperature": 0}


class OpenAI:
    """Chat, text completions and models."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path="/v1/chat/completions",
                handler=self.chat,
                method="POST",
                group=GROUP,
                body=Body(type=ChatBody, example=CHAT_EXAMPLE),
                answers={JSON: ChatCompletion, EVENTS: ChatChunk},
                failure=ErrorBody,
                fails=(*GENERATION, *CONVERSATION, *MENTIONING, ModelNotSupported, UnknownModel),
                queued="seeded",
            ),
            Endpoint(
                path="/v1/completions",
                handler=self.completions,
                method="POST",
                group=GROUP,
                body=Body(type=CompletionBody, example=COMPLETION_EXAMPLE),
                answers={JSON: TextCompletion, EVENTS: CompletionChunk},
                failure=ErrorBody,
                fails=(*GENERATION, ModelNotSupported, UnknownModel),
                queued="seeded",
            ),
            Endpoint(
                path="/v1/models",
                handler=self.models,
                group=GROUP,
                answers={JSON: ModelList},
                failure=ErrorBody,
            ),
            Endpoint(
                path="/v1/models/{name:path}",
                handler=self.model,
                group=GROUP,
                answers={JSON: ModelCard},
                failure=ErrorBody,
                fails=(UnknownModel,),
                parameters={"name": "A model's id."},
            ),
        ]

    async def chat(self, request: Request) -> Response:
        """The next message of a conversation."""
        raw, size = await self._service.read(request, media=True)
        size += await with_files(self._service, request, raw)
        served, given = self._service.parse(request, ChatBody, raw)
        given.check()
        chat, more = await with_media(self._service, request, given.chat())
        return await self._generate(request, served, given, (chat,), size + more, ChatEnvelope)

    async def completions(self, request: Request) -> Response:
        """Continue a text; several texts if several are given."""
        raw, size = await self._service.read(request)
        served, given = self._service.parse(request, CompletionBody, raw)
        given.check()
        prompts = given.prompts()
        return await self._generate(request, served, given, prompts, size, CompletionEnvelope)

    async def _generate(
        self,
        request: Request,
        served: ServedModel,
        given: ChatBody | CompletionBody,
        prompts: tuple[Prompt, ...],
        size: int,
        envelope_type: type[ChatEnvelope | CompletionEnvelope],
    ) -> Response:
        job = body.job(
            request,
            given,
            served.instructed(prompts),
            model=served.name,
            n=given.n or 1,
            size=size,
            temperature=1.0,
            max_tokens=given.limit(),
            tier=given.service_tier,
            constraint=given.constraint(),
            logprobs=given.alternatives(),
            kept="" if given.stream else given.probabilities_field,
            echo=isinstance(given, CompletionBody) and bool(given.echo),
            prediction=given.predicted(),
        )
        ticket = self._service.submit(request, job, served)
        asides = None
        if given.return_progress or given.verbose:
            asides = Asides(
                ticket,
                served,
                progress=bool(given.return_progress),
                verbose=bool(given.verbose),
            )
        envelope = envelope_type(ticket, served.name, given, asides)
        if given.stream:
            return EventStream(served.dispatcher, ticket, envelope, self._service.config.keepalive)
        found = await collect(served.dispatcher, ticket, request.receive, envelope.probable)
        return json_response(envelope.whole(found))

    async def models(self, request: Request) -> Response:
        """The models that are served, and whether they are loaded. Their aliases follow them."""
        there = await self._service.listed(request)
        aliases = self._service.registry.plain_aliases
        named = [(each, each.name) for each in there]
        named += [(each, alias) for each in there for alias in aliases(each.name)]
        cards = [self._card(each, name) for each, name in named]
        listed: ModelList = {
            "object": "list",
            "data": cards,
            "models": [brief_card(each, name) for each, name in named],
            "has_more": False,
            "first_id": cards[0]["id"] if cards else None,
            "last_id": cards[-1]["id"] if cards else None,
        }
        return json_response(listed)

    async def model(self, request: Request) -> Response:
        """One model."""
        name: str = request.path_params["name"]
        served = self._service.find(request, name)
        if served is None:
            raise self._service.unknown(request, name)
        return json_response(self._card(of_served(served), name))

    def _card(self, listed: ListedModel, alias: str | None = None) -> ModelCard:
        return model_card(listed, self._service.started, alias)
