"""GET /usage: what each key has used of each model, by hours or days."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api.admin import check_admin
from gateway.api.endpoint import JSON, Endpoint
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.core.errors import AdminOnly, BadRequest, NotOffered, Unavailable
from gateway.core.moments import moment
from gateway.core.periods import DAY_S, HOUR_S
from gateway.core.usage_counts import STEP_S, Step, UsageQuestion, UsageSum

USUAL_S: dict[Step, int] = {"hour": DAY_S, "day": 30 * DAY_S}
"""The time before now that is told of if no other is asked for."""
MOST = 10_000


class UsageQuery(BaseModel):
    by: Step = "day"
    """Steps of the time, in UTC."""
    since: str | None = None
    """Begin: an ISO date or time (in UTC, unless it says otherwise), or Unix seconds. Default: the
    last 24 hours, or 30 days."""
    until: str | None = None
    """End, which is not included. Default: now."""
    key: Annotated[str, Field(max_length=64)] | None = None
    """Name of the only key."""
    model: Annotated[str, Field(max_length=1024)] | None = None
    """Name of the only model."""
    limit: Annotated[int, Field(ge=1, le=MOST)] = 1000
    """Most rows."""


class UsageRow(TypedDict):
    start: int
    """Unix seconds: the begin of the hour or day."""
    key: str | None
    """Name of the API key; null: requests without one."""
    model: str
    requests: int
    """Requests that ended, in whatever way."""
    prompt_tokens: int
    cached_tokens: int
    """The part of the prompts that was not computed."""
    output_tokens: int


class UsageTable(TypedDict):
    object: Literal["usage"]
    by: Step
    since: int
    """Unix seconds: the begin of the first step that is told of."""
    until: int
    stored: bool
    """False: the server has no store, and counts since its start, in memory."""
    data: list[UsageRow]
    """The newest first, and only what is not 0."""
    has_more: bool


class UsageEndpoints:
    """For keys of admins."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                path="/usage",
                handler=self.usage,
                group="Operators",
                answers={JSON: UsageTable},
                failure=ErrorBody,
                fails=(AdminOnly, NotOffered, Unavailable),
                query=UsageQuery,
            )
        ]

    async def usage(self, request: Request) -> Response:
        """Return what each key has used of each model.

        Needs the key of an admin. Requests count when they end, with what was computed of them;
        hours and days are in UTC.
        """
        check_admin(request, "see the usage of all")
        accounts = self._service.accounts
        if not accounts.days:
            raise NotOffered("this server keeps no usage: it was started with --usage-days 0")
        asked = _question(read_query(request, UsageQuery), accounts.now())
        found = await accounts.read(asked._replace(limit=asked.limit + 1))
        answer: UsageTable = {
            "object": "usage",
            "by": asked.step,
            "since": asked.since * HOUR_S if accounts.stored else _start(accounts.since, asked),
            "until": asked.until * HOUR_S,
            "stored": accounts.stored,
            "data": [_row(each) for each in found[: asked.limit]],
            "has_more": len(found) > asked.limit,
        }
        return json_response(answer)


def _question(query: UsageQuery, now: float) -> UsageQuestion:
    step = STEP_S[query.by]
    until = now if query.until is None else _moment(query.until, "until")
    since = until - USUAL_S[query.by] if query.since is None else _moment(query.since, "since")
    if since >= until:
        raise BadRequest("'since' is not before 'until'", param="since")
    # Whole steps, or the first would look as if less had been used.
    first, end = int(since // step * step), int(-(-until // step) * step)
    hours = first // HOUR_S, end // HOUR_S
    return UsageQuestion(query.by, *hours, query.key, query.model, query.limit)


def _moment(text: str, param: str) -> float:
    try:
        return moment(text)
    except ValueError as error:
        raise BadRequest(f"'{param}': {error}", param=param) from None


def _start(since: float, asked: UsageQuestion) -> int:
    """Return the begin of what can be told of: that of the server, if it is later."""
    return max(asked.since * HOUR_S, int(since))


def _row(each: UsageSum) -> UsageRow:
    return {
        "start": each.at * HOUR_S,
        "key": each.owner or None,
        "model": each.model,
        "requests": each.counts.requests,
        "prompt_tokens": each.counts.prompt,
        "cached_tokens": each.counts.cached,
        "output_tokens": each.counts.output,
    }
