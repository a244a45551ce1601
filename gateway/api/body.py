"""From the bytes of a request to validated values; what all dialects have in common.

Every 400 that the body alone can show happens here.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, Field, ValidationError, WithJsonSchema
from starlette.requests import Request

from gateway.api.content_encoding import decoded, encodings
from gateway.api.samplers import SamplersBody, without_stateful
from gateway.api.schemas import GrammarSource, Schema
from gateway.api.upload import receive
from gateway.core.api_key import ApiKey
from gateway.core.errors import (
    BadRequest,
    PriorityNotAllowed,
    UnknownParameter,
    UnsupportedParameter,
)
from gateway.core.priority import NORMAL, PRIORITIES, priority_text
from gateway.core.validation import ValidationProblem, explain
from gateway.dispatch.job import Job
from workers.protocol import Constraint, GenerationParams, Prompt

TIERS = {"flex": 0.0, "default": 1.0, "priority": 2.0}
"""OpenAI's service tiers; "auto" leaves the choice to the server, as no tier does."""
MAX_TIMEOUT_S = 86400

Body = TypeVar("Body", bound=BaseModel)


Stop = Annotated[str, Field(min_length=1)]
Priority = Annotated[
    int | float | str,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(PRIORITIES)}]}),
]


class SamplingBody(SamplersBody):
    """Fields that every generating endpoint takes; None (or absent) means the default."""

    max_tokens: int | None = Field(None, ge=1, le=2**31 - 1)
    """The most tokens of an answer. Default: what the context holds."""
    stop: Stop | Annotated[list[Stop], Field(max_length=16, fail_fast=True)] | None = None
    """Texts that end an answer when they appear; they are left out."""
    ignore_eos: bool | None = None
    """True: do not end before `max_tokens`."""
    json_schema: Schema | None = None
    """The answer must be JSON of this schema: llama-server's short form."""
    grammar: GrammarSource | None = None
    """The answer must follow this grammar, in GBNF or Lark."""
    cache_prompt: bool | None = None
    """False: compute the whole prompt, even if a part of it was computed before."""
    priority: Priority | None = None
    """Larger is more urgent, by number or by name. Default: normal, which is 1."""
    timeout: float | None = Field(None, gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)
    """Seconds that the request may take, waiting included."""

    def stops(self) -> tuple[str, ...]:
        if isinstance(self.stop, str):
            return (self.stop,)
        return tuple(self.stop or ())


def job(
    request: Request,
    given: SamplingBody,
    prompts: tuple[Prompt, ...],
    *,
    n: int = 1,
    size: int,
    temperature: float,
    max_tokens: int | None,
    tier: str | None = None,
    constraint: Constraint | None = None,
    logprobs: int | None = None,
    echo: bool = False,
    model: str = "",
) -> Job:
    """The job that a validated body asks for, in the name of the request's key.

    ``temperature`` is the dialect's default, ``tier`` OpenAI's service tier, ``size`` the body's
    bytes; the others are as in :class:`workers.protocol.GenerationParams`.
    """
    key: ApiKey = request.state.key
    return Job(
        prompts=prompts,
        n=n,
        params=GenerationParams(
            sampling=given.sampling(temperature=temperature),
            max_tokens=max_tokens,
            stop=given.stops(),
            ignore_eos=bool(given.ignore_eos),
            constraint=constraint,
            logprobs=logprobs,
            echo=echo,
            cache_prompt=given.cache_prompt is not False,
        ),
        priority=priority(given.priority, request.headers, tier, key.max_priority),
        created=time.time(),
        timeout=timeout(given.timeout, request.headers),
        size=size,
        owner=key.name,
        weight=key.weight,
        model=model,
    )


async def read(request: Request, limit: int, timeout: float) -> tuple[dict[str, Any], int]:
    """The JSON object in the body, and the body's bytes, decoded.

    ``timeout`` is in seconds, see :func:`gateway.api.upload.upload_deadline`. Raises BodyTooLarge,
    BodyTimeout, UnsupportedEncoding, BadRequest or ClientDisconnect.
    """
    names = encodings(request.headers.getlist("content-encoding"))
    data: bytes | bytearray = await receive(request, limit, timeout)
    if names:
        data = await asyncio.to_thread(decoded, data, names, limit)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value, len(data)


def parse(type_: type[Body], raw: dict[str, Any], not_yet: Mapping[str, tuple[Any, ...]]) -> Body:
    """Validate ``raw``. Raises a BadRequest that names the field.

    ``not_yet`` lists parameters that the dialect knows but this server can't serve, with the
    values that ask for nothing (null always does): those are let through, others are refused.
    """
    raw = without_stateful(raw)
    if not raw.keys().isdisjoint(not_yet):
        raw = _without(raw, not_yet)
    known = type_.model_fields
    unknown = next((name for name in raw if name not in known), None)
    if unknown is not None:  # pydantic would make an error for each, and a body has room for many
        raise UnknownParameter(f"unknown parameter '{unknown}'", param=unknown)
    try:
        return type_.model_validate(raw)
    except ValidationError as error:
        raise _refusal(explain(error, raw)) from None


def _without(raw: dict[str, Any], not_yet: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """``raw`` without the fields that ask for nothing. Raises UnsupportedParameter for others."""
    for name, neutral in not_yet.items():
        value = raw.get(name)
        if value is not None and not any(type(value) is type(n) and value == n for n in neutral):
            raise UnsupportedParameter(f"'{name}' is not supported by this server", param=name)
    return {name: value for name, value in raw.items() if name not in not_yet}


def _refusal(problem: ValidationProblem) -> BadRequest:
    param = ".".join(problem.path)
    match problem.kind:
        case "unknown":
            return UnknownParameter(f"unknown parameter '{param}'", param=param)
        case "missing":
            return BadRequest(f"'{param}' is required", param=param)
    return BadRequest(f"'{param}': {problem.message}", param=param)


def priority(
    value: float | str | None,
    headers: Mapping[str, str],
    tier: str | None,
    highest: float = math.inf,
) -> float:
    """The base priority: from the body, else the X-Priority header, else the service tier.

    Raises PriorityNotAllowed if that is above ``highest``; a request without one gets what is
    allowed. A header that makes no sense is a BadRequest even where the body overrules it.
    """
    header = headers.get("x-priority")
    of_header = None if header is None else _priority(header.strip(), "X-Priority")
    if value is not None:
        asked, param = _priority(value, "priority"), "priority"
    elif of_header is not None:
        asked, param = of_header, "X-Priority"
    elif tier in TIERS:
        asked, param = TIERS[tier], "service_tier"
    else:
        return min(NORMAL, highest)
    if asked > highest:
        message = f"'{param}': this API key allows a priority of {priority_text(highest)} at most"
        raise PriorityNotAllowed(message, param=param)
    return asked


def timeout(value: float | None, headers: Mapping[str, str]) -> float | None:
    """Seconds that the request may take: from the body, else the X-Request-Timeout header."""
    if "x-request-timeout" not in headers:
        return value
    with contextlib.suppress(ValueError):
        seconds = float(headers["x-request-timeout"])
        if 0 < seconds <= MAX_TIMEOUT_S:
            return seconds if value is None else value
    raise BadRequest(
        f"'X-Request-Timeout' must be a number of seconds above 0, at most {MAX_TIMEOUT_S}",
        param="X-Request-Timeout",
    )


def _priority(value: float | str, param: str) -> float:
    if isinstance(value, str) and value.lower() in PRIORITIES:
        return PRIORITIES[value.lower()]
    with contextlib.suppress(ValueError, OverflowError):
        # A header can't say whether it is a number; a body can, and a string there is a name.
        number = float(value) if param != "priority" or not isinstance(value, str) else math.nan
        if math.isfinite(number):
            return number
    names = ", ".join(f"'{name}'" for name in PRIORITIES)
    raise BadRequest(f"'{param}' must be a finite number or one of {names}", param=param)
