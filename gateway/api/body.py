"""From the bytes of a request to validated values; what all dialects have in common.

Every 400 that the body alone can show happens here.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, Field, ValidationError, WithJsonSchema
from starlette.requests import Request

from gateway.api.content_encoding import decoded, encodings
from gateway.api.field_policy import IgnoredFields, fields, sort
from gateway.api.field_table import DEFAULTS
from gateway.api.samplers import SamplersBody
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
ENCODING = b"content-encoding"

Body = TypeVar("Body", bound=BaseModel)


Stop = Annotated[str, Field(min_length=1)]
Priority = Annotated[
    int | float | str,
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(PRIORITIES)}]}),
]


class SamplingBody(SamplersBody):
    """Fields that every generating endpoint takes; None (or absent) means the default."""

    place: ClassVar[str] = DEFAULTS

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
        ignored=getattr(request.state, "ignored", ""),
    )


async def read(request: Request, limit: int, timeout: float) -> tuple[dict[str, Any], int]:
    """The JSON object in the body, and the body's bytes, decoded.

    ``timeout`` is in seconds, see :func:`gateway.api.upload.upload_deadline`. Raises BodyTooLarge,
    BodyTimeout, UnsupportedEncoding, BadRequest or ClientDisconnect.
    """
    raw = request.headers.raw
    names = encodings([value.decode("latin-1") for name, value in raw if name == ENCODING])
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


def parse(
    type_: type[Body],
    raw: dict[str, Any],
    ignored: IgnoredFields | None = None,
    defaults: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> Body:
    """Validate ``raw``. Raises a BadRequest that names the field.

    Fields that ``type_`` does not have go by the policy of its ``place``. ``ignored`` gets the
    names of those that are told; None: they are refused. ``defaults`` adds what ``raw`` does not
    say, after others' names have been mapped.
    """
    known, place = fields(type_)
    if not raw.keys() <= known:
        raw = _sorted(raw, known, place, ignored)
    if defaults is not None:
        raw = defaults(raw)
        if not raw.keys() <= known:
            raw = _sorted(raw, known, place, None)
    try:
        return type_.model_validate(raw, context=ignored)
    except ValidationError as error:
        raise _refusal(explain(error, raw)) from None


def _sorted(
    raw: dict[str, Any], known: frozenset[str], place: str, ignored: IgnoredFields | None
) -> dict[str, Any]:
    """Return ``raw`` without what ``known`` does not hold."""
    found = sort(raw, known, place, strict=ignored is None)
    if ignored is not None:
        for name in found.ignored:
            ignored.add(name)
    return found.kept


def _refusal(problem: ValidationProblem) -> BadRequest:
    param = ".".join(problem.path)
    match problem.kind:
        case "unknown":
            return UnknownParameter(f"unknown parameter '{param}'", param=param)
        case "missing":
            return BadRequest(f"'{param}' is required", param=param)
        case "refused":
            return UnsupportedParameter(f"'{param}': {problem.message}", param=param)
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
