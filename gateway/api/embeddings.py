"""OpenAI's POST /v1/embeddings: inputs in, a vector for each out."""

import array
import base64
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api import token_ids, urgency
from gateway.api.embedding_inputs import Inputs, prompts
from gateway.api.endpoint import CONVERSATION, JSON, WORK, Body, Endpoint
from gateway.api.field_table import EMBEDDINGS
from gateway.api.input_job import input_job
from gateway.api.openai.endpoints import GROUP
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import json_response, serve_ticket
from gateway.api.service import Service
from gateway.core.errors import BadRequest, ModelNotSupported, UnknownModel
from gateway.core.strict import STRICT
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import (
    Embedding,
    Finished,
    ModelInfo,
    Prompt,
    Tokens,
)

FLOAT32 = 4
"""Bytes of a component."""


class EmbeddingBody(BaseModel):
    """The fields of OpenAI's API, and Forge's own ``priority`` and ``timeout``."""

    model_config = STRICT
    place: ClassVar[str] = EMBEDDINGS

    input: Inputs
    """One text or several, lists of token ids, or both in turn; also `{"prompt_string": ...}`."""
    model: str | None = None
    """The model's id; the first one if none is named."""
    encoding_format: Literal["float", "base64"] | None = None
    """Default `float`; `base64` is that of the floats' bytes, little-endian float32."""
    dimensions: int | None = Field(None, ge=1, le=2**31 - 1)
    """Number of the model's dimensions to keep. Default: all."""
    priority: urgency.Priority | None = None
    """Larger is more urgent, by number or by name. Default: normal, which is 1."""
    timeout: float | None = Field(None, gt=0, le=urgency.MAX_TIMEOUT_S, allow_inf_nan=False)
    """Seconds that the request may take, waiting included."""

    def prompts(self) -> tuple[Prompt, ...]:
        return prompts(self.input)


class EmbeddingItem(TypedDict):
    object: Literal["embedding"]
    index: int
    """Place of the input in the request."""
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(TypedDict):
    object: Literal["list"]
    data: list[EmbeddingItem]
    """In the order of the inputs."""
    model: str
    usage: EmbeddingUsage


class Embeddings:
    """The endpoint. Each input is a sequence of its own: it waits, and takes a slot, as others."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path="/v1/embeddings",
                handler=self.embeddings,
                method="POST",
                group=GROUP,
                body=Body(type=EmbeddingBody, example={"input": ["what is 2+2?", "hello"]}),
                answers={JSON: EmbeddingList},
                failure=ErrorBody,
                fails=(*WORK, *CONVERSATION, ModelNotSupported, UnknownModel),
                queued="yes",
            )
        ]

    async def embeddings(self, request: Request) -> Response:
        """Return the meaning of texts as vectors."""
        served, ticket, data = await embedded(self._service, request, EmbeddingBody, _item)
        tokens = ticket.usage.prompt
        return json_response(
            {
                "object": "list",
                "data": data,
                "model": served.name,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )


Item = Callable[[int, list[float] | str], Any]
"""Makes the answer's item of an input's index and its vector."""


async def embedded(
    service: Service, request: Request, type_: type[EmbeddingBody], item: Item
) -> tuple[ServedModel, Ticket, list[orjson.Fragment]]:
    """Embed a request's inputs, and return its model, its ticket and the items of the answer."""
    raw, size = await service.read(request)
    served, given = service.parse(request, type_, raw)
    job = input_job(
        request,
        given.prompts(),
        Embedding(given.dimensions),
        priority=given.priority,
        timeout=given.timeout,
        size=size,
        model=served.name,
    )
    check(job, served.pool.model)
    ticket = service.submit(request, job, served)
    work = gather(ticket, item, as_text=given.encoding_format == "base64")
    return served, ticket, await serve_ticket(served.dispatcher, ticket, request.receive, work)


def _item(index: int, vector: list[float] | str) -> EmbeddingItem:
    return {"object": "embedding", "index": index, "embedding": vector}


def check(job: Job, model: ModelInfo | None) -> None:
    """Refuse, once the model is known, what no wait can help."""
    if model is None:
        return
    for index, prompt in enumerate(job.prompts):
        if isinstance(prompt, Tokens):
            param = f"input.{index}" if len(job.prompts) > 1 else "input"
            token_ids.check(prompt.ids, model.n_vocab, param)
    wanted = job.params.embedding
    if wanted is not None and wanted.dimensions is not None and model.embeds:
        _check_dimensions(wanted.dimensions, model.n_embd)


def _check_dimensions(wanted: int, there_are: int) -> None:
    if wanted > there_are:
        message = f"'dimensions': this model's embeddings have {there_are}, not {wanted}"
        raise BadRequest(message, param="dimensions")


async def gather(ticket: Ticket, item: Item, *, as_text: bool) -> list[orjson.Fragment]:
    """Return what ``item`` makes of each input's vector, in the order of the inputs.

    Each vector becomes JSON when it comes: all of them at the end would stop the event loop for
    all clients. Raises the ticket's error.
    """
    assert ticket.job.params.embedding is not None
    found: dict[int, orjson.Fragment] = {}
    while len(found) < len(ticket.sequences):
        for event in await ticket.take():
            if not isinstance(event, Finished) or event.extra is None:
                continue
            vector, index = event.extra.vector, ticket.index(event)
            _check_dimensions(ticket.job.params.embedding.dimensions or 0, len(vector) // FLOAT32)
            form = base64.b64encode(vector).decode() if as_text else floats(vector)
            found[index] = orjson.Fragment(orjson.dumps(item(index, form)))
    return [found[index] for index in range(len(found))]


def floats(vector: bytes) -> list[float]:
    """Return a vector's components."""
    values = array.array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
