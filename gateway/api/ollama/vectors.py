"""The dialect's endpoints for vectors: today's, and the one of older clients."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.embeddings import check, gather
from gateway.api.endpoint import JSON, WORK, Body, Endpoint, Handler
from gateway.api.infer import Problem
from gateway.api.input_job import input_job
from gateway.api.ollama.body import OllamaBody, OllamaEmbedBody, OllamaEmbeddingsBody
from gateway.api.ollama.metrics import load_ns, total_ns
from gateway.api.ollama.received import Received, receive
from gateway.api.ollama.types import OllamaEmbedding, OllamaEmbeddings
from gateway.api.reply import json_response, serve_ticket
from gateway.api.service import Service
from gateway.core.errors import ModelNotSupported, UnknownModel
from gateway.dispatch.ticket import Ticket
from workers.protocol import Embedding, Text

GROUP = "Ollama"
ASKED = "what is 2+2?"


class OllamaVectors:
    """Vectors of texts in Ollama's dialect."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        several = Body(type=OllamaEmbedBody, example={"input": ASKED})
        one = Body(type=OllamaEmbeddingsBody, example={"prompt": ASKED})
        return [
            _endpoint("/api/embed", self.ollama_embed, several, OllamaEmbeddings),
            _endpoint("/api/embeddings", self.ollama_embeddings, one, OllamaEmbedding),
        ]

    async def ollama_embed(self, request: Request) -> Response:
        """Vectors of texts, in Ollama's dialect."""
        received = await receive(self._service, request, OllamaEmbedBody)
        given = received.given
        inputs = list(given.input or ())  # a list, whatever the client wrote
        if not inputs:
            received.check_unqueued()
            return json_response(_embeddings(received.name, []))
        wanted = Embedding(given.dimensions, cut=given.truncate is not False)
        ticket, vectors = await self._embedded(received, inputs, wanted)
        return json_response(_embeddings(received.name, vectors, ticket))

    async def ollama_embeddings(self, request: Request) -> Response:
        """The vector of a text, as older clients of Ollama ask for it."""
        received = await receive(self._service, request, OllamaEmbeddingsBody)
        if not received.given.prompt:
            received.check_unqueued()
            return json_response({"embedding": []})
        wanted = Embedding(cut=True)
        _, vectors = await self._embedded(received, [received.given.prompt], wanted)
        return json_response({"embedding": vectors[0]})

    async def _embedded(
        self, received: Received[OllamaBody], inputs: list[str], wanted: Embedding
    ) -> tuple[Ticket, list[Any]]:
        request, served, options = received.request, received.served, received.given.chosen()
        job = input_job(
            request,
            tuple(map(Text, inputs)),
            wanted,
            priority=options.priority,
            timeout=options.timeout,
            size=received.size,
            model=served.name,
            keep_alive=received.given.keep_alive,
        )
        check(job, served.pool.model)
        ticket = self._service.submit(request, job, served)
        work = gather(ticket, lambda _, vector: vector, as_text=False)
        return ticket, await serve_ticket(served.dispatcher, ticket, request.receive, work)


def _endpoint(path: str, handler: Handler, body: Body, answer: type[Any]) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method="POST",
        group=GROUP,
        body=body,
        answers={JSON: answer},
        failure=Problem,
        fails=(*WORK, ModelNotSupported, UnknownModel),
        queued="yes",
    )


def _embeddings(model: str, vectors: list[Any], ticket: Ticket | None = None) -> dict[str, Any]:
    """Return the answer; without a ticket, nothing was computed."""
    return {
        "model": model,
        "embeddings": vectors,
        "total_duration": 0 if ticket is None else total_ns(ticket),
        "load_duration": 0 if ticket is None else load_ns(ticket),
        "prompt_eval_count": 0 if ticket is None else ticket.usage.prompt,
    }
