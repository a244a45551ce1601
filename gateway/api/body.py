"""From the bytes of a request to validated values; what all dialects have in common.

Every 400 that the body alone can show happens here.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, TypeVar

from msgspec.structs import replace
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    RootModel,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema
from starlette.requests import Request

from gateway.api.body_context import BodyContext
from gateway.api.client import client_of
from gateway.api.field_policy import IgnoredFields, fields, sort
from gateway.api.field_table import DEFAULTS
from gateway.api.lenient import corrected
from gateway.api.lora import LoraScales, scales
from gateway.api.other_names import MAX_TOKENS, Names, SamplingNames, ours
from gateway.api.samplers import SamplersBody
from gateway.api.schemas import GrammarSource, Schema
from gateway.api.token_ids import TokenId
from gateway.api.urgency import MAX_TIMEOUT_S, Priority, asked_priority, timeout
from gateway.conversation import BLIND, Senses
from gateway.core.api_key import ApiKey
from gateway.core.cache_scope import cache_scope
from gateway.core.errors import (
    BadRequest,
    UnknownParameter,
    UnsupportedParameter,
)
from gateway.core.session import session_of
from gateway.core.validation import ValidationProblem, explain
from gateway.dispatch.job import Job
from workers.protocol import Constraint, GenerationParams, Prompt

MAX_SALT = 1024
"""Most characters of a `cache_salt`."""
MAX_LAST_WORDS = 1024
"""Most characters of a `reasoning_budget_message`."""
ENCODING = b"content-encoding"

Body = TypeVar("Body", bound=BaseModel)
Listed = TypeVar("Listed", bound=RootModel[Any])


def _stops(value: Any) -> Any:
    """Take away the texts that can't end anything: empty ones, and null."""
    if value == "":
        return None
    if isinstance(value, list):
        return [text for text in value if text is not None and text != ""]
    return value


Stop = Annotated[
    str | Annotated[list[str], Field(max_length=16, fail_fast=True)] | None,
    BeforeValidator(_stops),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "maxItems": 16,
                },
                {"type": "null"},
            ]
        }
    ),
]
CacheKey = Annotated[
    str | None,
    BeforeValidator(lambda value: value if isinstance(value, str) else None),
    WithJsonSchema({}),
]
"""A text; a hint is never refused, so that anything else counts as none."""


class SamplingBody(SamplersBody):
    """Fields that every generating endpoint takes; None (or absent) means the default."""

    place: ClassVar[str] = DEFAULTS

    max_tokens: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """The most tokens of an answer. Default, and -1: what the context holds. 0: none."""
    min_tokens: int | None = Field(None, ge=0, le=MAX_TOKENS)
    """Before so many neither the model nor `stop` ends the answer. Default 0."""
    stop: Stop = None
    """Texts that end an answer when they appear; they are left out."""
    stop_token_ids: list[TokenId] | None = Field(None, max_length=1024, fail_fast=True)
    """Tokens that end an answer, beside the model's own; they are left out."""
    ignore_eos: bool | None = None
    """True: do not end before `max_tokens`."""
    thinking_budget_tokens: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """The most tokens of a chat's thought, which is closed then. 0: no thought. Default, and -1:
    the model's `--reasoning-budget`."""
    reasoning_budget_message: str | None = Field(None, max_length=MAX_LAST_WORDS)
    """The last words of a thought that is closed so. Default: the model's, or none."""
    json_schema: Schema | None = None
    """The answer must be JSON of this schema: llama-server's short form."""
    grammar: GrammarSource | None = None
    """The answer must follow this grammar, in GBNF or Lark."""
    lora: LoraScales | None = None
    """The LoRA adapters of this request, each with a scale, as llama-server has them. Default, and
    for an empty list: those of its model, or the one that it names as its model."""
    cache_prompt: bool | None = None
    """False: compute the whole prompt, even if a part of it was computed before."""
    cache_salt: str | None = Field(None, max_length=MAX_SALT)
    """Only requests with the same text share what is computed of their prompts."""
    prompt_cache_key: CacheKey = None
    """The conversation's name: a hint that its next requests should go where this one went."""
    priority: Priority | None = None
    """Larger is more urgent, by number or by name. Default: normal, which is 1."""
    timeout: float | None = Field(None, gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)
    """Seconds that the request may take, waiting included."""

    others: SkipJsonSchema[SamplingNames | None] = None
    # Made of what the body has under other programs' names; no client can say it.
    others_type: ClassVar[type[Names]] = SamplingNames

    @classmethod
    def completed(
        cls, raw: dict[str, Any], defaults: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a body with the model's defaults for what it does not say."""
        return defaults(raw)

    def limit(self) -> int | None:
        """The most tokens of an answer."""
        return unlimited(self.max_tokens)

    def thought_limit(self) -> int | None:
        """The most tokens of a thought; None: as many as the model's own limit allows."""
        return unlimited(self.thinking_budget_tokens)

    def asked(self) -> dict[str, Constraint]:
        """Return the forms of the answer that are asked for under other programs' names."""
        return {} if self.others is None else self.others.constraints()

    def further_params(self) -> dict[str, Any]:
        """Return further fields of :class:`workers.protocol.GenerationParams`, for a dialect's own
        parameters."""
        return {}

    def stops(self) -> tuple[str, ...]:
        if isinstance(self.stop, str):
            return (self.stop,)
        return tuple(self.stop or ())

    def params(self, *, temperature: float, max_tokens: int | None) -> GenerationParams:
        """Return what the fields of all dialects say of the generation. Raises BadRequest.

        ``temperature`` is the dialect's default, ``max_tokens`` the limit in its field.
        """
        if self.min_tokens and max_tokens is not None and self.min_tokens > max_tokens:
            message = f"'min_tokens' is above the {max_tokens} tokens that the answer may have"
            raise BadRequest(message, param="min_tokens")
        return GenerationParams(
            sampling=self.sampling(temperature=temperature),
            max_tokens=max_tokens,
            stop=self.stops(),
            ignore_eos=bool(self.ignore_eos),
            min_tokens=self.min_tokens or 0,
            stop_token_ids=tuple(self.stop_token_ids or ()),
            cache_prompt=self.cache_prompt is not False,
            thought_limit=self.thought_limit(),
            thought_end=self.reasoning_budget_message or "",
            **self.further_params(),
        )


def unlimited(limit: int | None) -> int | None:
    """Return a limit in tokens, where -1 is none."""
    return None if limit == -1 else limit


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
    usual: float | None = None,
    constraint: Constraint | None = None,
    logprobs: int | None = None,
    kept: str = "",
    echo: bool = False,
    prediction: str = "",
    context: int | None = None,
    cut_after: int | None = None,
    prompt_ids: bool = False,
    keep_alive: float | None = None,
    model: str = "",
) -> Job:
    """The job that a validated body asks for, in the name of the request's key.

    ``temperature`` is the dialect's default, ``tier`` OpenAI's service tier, ``usual`` the priority
    of a request that asks for none (None: as its headers have it), ``size`` the body's bytes,
    ``kept`` the field that asks for probabilities which are told with the whole answer; the
    others are as in :class:`workers.protocol.GenerationParams`.
    """
    key: ApiKey = request.state.key
    scope = cache_scope(key, given.cache_salt or "")
    return Job(
        prompts=prompts,
        n=n,
        params=replace(
            given.params(temperature=temperature, max_tokens=max_tokens),
            constraint=constraint,
            logprobs=logprobs,
            echo=echo,
            prediction=prediction,
            context=context,
            cut_after=cut_after,
            prompt_ids=prompt_ids,
        ),
        priority=asked_priority(request, given.priority, tier, usual),
        created=time.time(),
        timeout=timeout(given.timeout, request.headers),
        size=size,
        owner=key.name,
        client=client_of(request),
        weight=key.weight,
        cache_scope=scope,
        session=session_of(request.headers, given.prompt_cache_key, scope),
        model=model,
        keep_alive=keep_alive,
        lora=scales(given.lora),
        keeps="" if logprobs is None else kept,
        ignored=request.scope["state"].get("ignored", ""),
        **line_fields(request),
    )


def line_fields(request: Request) -> dict[str, Any]:
    """Return the fields of :class:`Job` that only a batch's line has, which no body can say.

    See :mod:`gateway.api.line_caller`.
    """
    state = request.scope["state"]
    if "spare" not in state:
        return {}
    return {"spare": state["spare"], "request_id": state["name"]}


def parse_list(type_: type[Listed], value: Any) -> Listed:
    """Validate the list in a body. Raises a BadRequest that names the item."""
    if not isinstance(value, list):
        raise BadRequest("the body must be a JSON array")
    try:
        return type_.model_validate(value)
    except ValidationError as error:
        raise _refusal(explain(error, value)) from None


def parse(
    type_: type[Body],
    raw: dict[str, Any],
    ignored: IgnoredFields | None = None,
    defaults: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    senses: Senses = BLIND,
) -> Body:
    """Validate ``raw``. Raises a BadRequest that names the field.

    Fields that ``type_`` does not have go by the policy of its ``place``. ``ignored`` gets the
    names of those that are told; None: they are refused. ``defaults`` adds what ``raw`` does not
    say, after others' names have been mapped. ``senses``: the media that the model takes.
    """
    context = BodyContext(ignored, senses)
    known, place = fields(type_)
    others = None
    if not raw.keys() <= known:
        raw, others = _sorted(type_, raw, context)
    if defaults is not None:
        raw = defaults(raw)
        if not raw.keys() <= known:
            raw = sort(raw, known, place, strict=True).kept
    if others is not None:
        raw = {**raw, "others": others}
    return _validated(type_, raw, context)


def _sorted(
    type_: type[BaseModel], raw: dict[str, Any], context: BodyContext
) -> tuple[dict[str, Any], BaseModel | None]:
    """Return the fields that ``type_`` has, and what others' names mean that has none of its own.

    Raises BadRequest.
    """
    known, place = fields(type_)
    ignored = context.ignored
    found = sort(raw, known, place, strict=ignored is None)
    if ignored is not None:
        for name in found.ignored:
            ignored.add(name)
    if not found.mapped:
        return found.kept, None
    others_type: type[Names] = type_.others_type  # type: ignore[attr-defined]
    others = _validated(others_type, found.mapped, context)
    return ours(others, found.kept), others


def _validated(type_: type[Body], raw: dict[str, Any], context: BodyContext) -> Body:
    """Raises BadRequest about the first field that is wrong, if it can't be read leniently."""
    try:
        return type_.model_validate(raw, context=context)
    except ValidationError as error:
        lenient = corrected(raw, error)
        if lenient is None:
            raise _refusal(explain(error, raw)) from None
    try:
        return type_.model_validate(lenient, context=context)
    except ValidationError as error:
        raise _refusal(explain(error, lenient)) from None


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
