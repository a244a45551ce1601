"""The endpoints. Each pair is a sequence of its own: it waits, and takes a slot, as others."""

from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.endpoint import CONVERSATION, JSON, WORK, Body, Endpoint, Handler
from gateway.api.input_job import input_job
from gateway.api.openai.errors import ErrorBody
from gateway.api.ranking import answers
from gateway.api.ranking.answers import CohereRerank, RerankList, ScoreList, TeiRank
from gateway.api.ranking.bodies import CohereRerankBody, RerankBody, ScoreBody
from gateway.api.reply import COLLECTED, json_response, serve_ticket
from gateway.api.service import Service
from gateway.core.errors import ModelNotSupported, UnknownModel
from gateway.dispatch.ticket import Ticket
from gateway.served.served_model import ServedModel
from workers.protocol import Finished

GROUP = "Ranking"
RERANK_PATHS = ("/v1/rerank", "/v1/reranking")
EXAMPLE = {"query": "What is aging?", "documents": ["Waiting raises a priority.", "A cat."]}
SCORE_EXAMPLE = {"text_1": "What is aging?", "text_2": ["Waiting raises a priority.", "A cat."]}

Given = TypeVar("Given", RerankBody, CohereRerankBody, ScoreBody)


class RankingEndpoints:
    """Rerankers and scores, for models that rank."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        rerank = Body(type=RerankBody, example=EXAMPLE)
        cohere = Body(type=CohereRerankBody, example=EXAMPLE)
        score = Body(type=ScoreBody, example=SCORE_EXAMPLE)
        listed = RerankList | list[TeiRank]
        return [
            *(_post(path, self.rerank, rerank, listed) for path in RERANK_PATHS),
            _post("/v2/rerank", self.cohere_rerank, cohere, CohereRerank),
            _post("/v1/score", self.score, score, ScoreList),
        ]

    async def rerank(self, request: Request) -> Response:
        """Order documents by how well they answer a query.

        The shape is Jina's, or TEI's for `texts`.
        """
        served, given, ticket, scores = await self._ranked(request, RerankBody)
        name, documents = given.given()
        whole = bool(given.return_documents)
        if name == "texts":
            texts = [pair.document for pair in given.pairs()] if whole else None
            return json_response(answers.tei(scores, texts, given.top_n))
        found: RerankList = {
            "model": served.name,
            "object": "list",
            "usage": answers.usage(ticket.usage.prompt),
            "results": answers.ranked(scores, documents, given.top_n, whole=whole),
        }
        return json_response(found)

    async def cohere_rerank(self, request: Request) -> Response:
        """Order documents by how well they answer a query, as version 2 of Cohere's API does.

        A document that is too long is cut, unless `truncate` is false.
        """
        _, given, ticket, scores = await self._ranked(request, CohereRerankBody)
        _, documents = given.given()
        whole = bool(given.return_documents)
        found: CohereRerank = {
            "id": ticket.request_id,
            "results": answers.ranked(scores, documents, given.top_n, whole=whole),
            "meta": answers.cohere_meta(len(documents), ticket.usage.prompt),
        }
        return json_response(found)

    async def score(self, request: Request) -> Response:
        """Score pairs of texts, as vLLM does."""
        served, _, ticket, scores = await self._ranked(request, ScoreBody)
        found: ScoreList = {
            "id": f"score-{ticket.request_id}",
            "object": "list",
            "created": int(ticket.job.created),
            "model": served.name,
            "data": [
                {"index": at, "object": "score", "score": score} for at, score in enumerate(scores)
            ],
            "usage": answers.usage(ticket.usage.prompt),
        }
        return json_response(found)

    async def _ranked(
        self, request: Request, type_: type[Given]
    ) -> tuple[ServedModel, Given, Ticket, list[float]]:
        """Return the model, what was asked for, and the score of each pair."""
        raw, size = await self._service.read(request)
        served, given = self._service.parse(request, type_, raw)
        job = input_job(
            request,
            given.pairs(),
            given.ranking(),
            priority=given.priority,
            timeout=given.timeout,
            size=size,
            model=served.name,
        )
        ticket = self._service.submit(request, job, served)
        work = _gather(ticket)
        scores = await serve_ticket(served.dispatcher, ticket, request.receive, work)
        return served, given, ticket, scores


async def _gather(ticket: Ticket) -> list[float]:
    """Return the scores in the order of the pairs. Raises the ticket's error."""
    found: dict[int, float] = {}
    while len(found) < len(ticket.sequences):
        for event in await ticket.take(enough=COLLECTED):
            if isinstance(event, Finished) and event.extra is not None:
                assert event.extra.score is not None
                found[ticket.index(event)] = event.extra.score
    return [found[at] for at in range(len(found))]


def _post(path: str, handler: Handler, takes: Body, answer: Any) -> Endpoint:
    return Endpoint(
        path=path,
        handler=handler,
        method="POST",
        group=GROUP,
        body=takes,
        answers={JSON: answer},
        failure=ErrorBody,
        fails=(*WORK, *CONVERSATION, ModelNotSupported, UnknownModel),
        queued="yes",
    )
