"""The seed's dialect: POST /infer, one question in, one answer out."""

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api import body
from gateway.api.reply import collect, json_response, timings
from gateway.api.schemas import constraint
from gateway.api.service import Service
from gateway.errors import ForgeError
from workers.protocol import Chat, Text


class InferBody(body.SamplingBody):
    query: str = Field(min_length=1)
    raw: bool | None = None


def error_response(error: ForgeError) -> Response:
    """The seed's error shape: the text under "error"; code and field beside it."""
    content: dict[str, Any] = {"error": error.message, "code": error.code}
    if error.param is not None:
        content["param"] = error.param
    if error.usage is not None:
        content["usage"] = error.usage.openai()
    return json_response(content, error.status, error.retry_after)


class Infer:
    """The dialect's endpoint. Greedy unless asked otherwise, as in the seed."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        return [Route("/infer", self.infer, methods=["POST"])]

    async def infer(self, request: Request) -> Response:
        config = self._service.config
        raw, size = await body.read(request, config.max_body, config.body_timeout)
        given = body.parse(InferBody, raw, {})
        question = {"role": "user", "content": given.query}
        job = body.job(
            request,
            given,
            (Text(given.query) if given.raw else Chat([question]),),
            size=size,
            temperature=0.0,
            max_tokens=given.max_tokens,
            constraint=constraint(None, given.json_schema, given.grammar),
        )
        ticket = self._service.submit(request, job)
        (completion,) = await collect(self._service.dispatcher, ticket, request.receive)
        content = {
            "response": completion.text,
            "id": ticket.request_id,
            "model": self._service.config.model_name,
            "finish_reason": completion.reason,
            "priority": job.priority,
            "seed": job.sampling.seed,
            "usage": ticket.usage.openai(),
            "timings": timings(ticket),
        }
        return json_response(content)
