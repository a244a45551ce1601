"""The study project's dialect: POST /infer, one question in, one answer out."""

from typing import NotRequired

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api import body
from gateway.api.endpoint import GENERATION, JSON, Body, Endpoint
from gateway.api.field_table import INFER
from gateway.api.reply import Pace, collect, json_response, pace
from gateway.api.schemas import constraint
from gateway.api.service import Service
from gateway.core.errors import ContextOverflow, ForgeError, ModelNotSupported, UnknownModel
from gateway.core.usage import OpenAIUsage
from workers.protocol import Chat, Text


class InferBody(body.SamplingBody):
    place = INFER

    query: str = Field(min_length=1)
    """The question."""
    model: str | None = None
    """The model that is asked; the first one if none is named."""
    raw: bool | None = None
    """True: the query goes to the model as it is, without its chat template."""


class Inferred(TypedDict):
    response: str
    id: str
    """The request's name, as in ``X-Request-Id``."""
    model: str
    finish_reason: str
    """``stop``: the model ended it, or a stop string did. ``length``: a limit."""
    priority: float
    """The one that counted."""
    seed: int
    """The one that was used: with the same one the answer is the same."""
    usage: OpenAIUsage
    timings: Pace


class Problem(TypedDict):
    """The study project's error shape: the text under "error"; code and field beside it."""

    error: str
    code: str
    param: NotRequired[str]
    """The field that is at fault."""
    n_prompt_tokens: NotRequired[int]
    """Of a prompt that is too long: its tokens, or so many at least."""
    n_ctx: NotRequired[int]
    """Of a prompt that is too long: the most tokens that the context holds."""
    usage: NotRequired[OpenAIUsage]
    """Tokens that were computed in vain."""


def problem(error: ForgeError) -> Problem:
    content: Problem = {"error": error.message, "code": error.code}
    if error.param is not None:
        content["param"] = error.param
    if isinstance(error, ContextOverflow) and error.n_prompt_tokens and error.n_ctx:
        content["n_prompt_tokens"], content["n_ctx"] = error.n_prompt_tokens, error.n_ctx
    if error.usage is not None:
        content["usage"] = error.usage.openai()
    return content


def error_response(error: ForgeError) -> Response:
    return json_response(problem(error), error.status, error.retry_after)


class Infer:
    """The dialect's endpoint. Greedy unless asked otherwise, as in the study project."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path="/infer",
                handler=self.infer,
                method="POST",
                group="Infer",
                body=Body(type=InferBody, example={"query": "what is 2+2?"}),
                answers={JSON: Inferred},
                failure=Problem,
                fails=(*GENERATION, ModelNotSupported, UnknownModel),
                queued="seeded",
            )
        ]

    async def infer(self, request: Request) -> Response:
        """One question, one answer.

        Greedy unless asked otherwise.
        """
        raw, size = await self._service.read(request)
        served, given = self._service.parse(request, InferBody, raw)
        question = {"role": "user", "content": given.query}
        job = body.job(
            request,
            given,
            served.instructed((Text(given.query) if given.raw else Chat([question]),)),
            model=served.name,
            size=size,
            temperature=0.0,
            max_tokens=given.limit(),
            constraint=constraint(None, given.json_schema, given.grammar, given.asked()),
        )
        ticket = self._service.submit(request, job, served)
        (completion,) = await collect(served.dispatcher, ticket, request.receive)
        content: Inferred = {
            "response": completion.text,
            "id": ticket.request_id,
            "model": served.name,
            "finish_reason": completion.reason,
            "priority": job.priority,
            "seed": job.params.sampling.seed,
            "usage": ticket.usage.openai(),
            "timings": pace(ticket),
        }
        return json_response(content)
