"""Ollama's ``options``: how tokens are chosen, where an answer ends, how much context it has."""

from collections.abc import Callable
from functools import cache
from typing import Any, Self, get_args

from pydantic import (
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from gateway.api.body import SamplingBody
from gateway.api.body_context import ignored_fields
from gateway.api.field_policy import IgnoredFields, fields, sort
from gateway.api.field_table import OLLAMA_OPTIONS
from gateway.api.lenient import EXACT, corrected
from gateway.api.other_names import MAX_TOKENS

DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "repeat_last_n": 64}
"""Ollama's, where they are not Forge's own; those of a model's table come before them."""
LEAST_CONTEXT = 4
"""Tokens of the smallest context, as in Ollama."""
KEPT = 4
"""First tokens of a prompt that is cut, unless ``num_keep`` says how many."""

Defaults = Callable[[dict[str, Any]], dict[str, Any]]


class Options(SamplingBody):
    """Ollama's options by their names, and Forge's own fields for the choice of tokens."""

    place = OLLAMA_OPTIONS
    model_config = ConfigDict(json_schema_extra=lambda schema: _numbers(schema["properties"]))

    num_predict: int | None = Field(None, ge=-2, le=MAX_TOKENS)
    """The most tokens of an answer. Default, and from 0 down: what the context holds."""
    num_ctx: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """The most tokens of prompt and answer together; no more than the model's context has."""
    num_keep: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """First tokens that stay when a prompt is cut. Default 4; -1: as many as may."""

    @model_validator(mode="wrap")
    @classmethod
    def _as_ollama_reads(
        cls, value: Any, read: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Leave out what is not known, and read numbers that are written in other ways."""
        if not isinstance(value, dict):
            return read(value)
        given = _whole(cls, _known(cls, value, ignored_fields(info)))
        try:
            return read(given)
        except ValidationError as error:
            lenient = corrected(given, error)
            if lenient is None:
                raise
            return read(lenient)

    def limit(self) -> int | None:
        if self.num_predict is None:
            return super().limit()
        return self.num_predict if self.num_predict > 0 else None

    def context(self) -> int | None:
        """Return the most tokens of prompt and answer together; None: the model's context."""
        wanted = self.num_ctx or 0
        return max(wanted, LEAST_CONTEXT) if wanted > 0 else None

    def kept(self) -> int:
        """Return the first tokens that stay when a prompt is cut."""
        if self.num_keep is None:
            return KEPT
        return self.num_keep if self.num_keep >= 0 else MAX_TOKENS


def completed(given: Any, defaults: Defaults) -> Any:
    """Return options with the defaults of their model, and then of Ollama, for what is not said.

    What is no object is left as it is.
    """
    if given is not None and not isinstance(given, dict):
        return given
    said = {name: value for name, value in (given or {}).items() if value is not None}
    return DEFAULTS | defaults(said)


def _known(
    type_: type[Options], given: dict[str, Any], ignored: IgnoredFields | None
) -> dict[str, Any]:
    """Return the options that are served; ``ignored`` learns of others."""
    known, place = fields(type_)
    if given.keys() <= known:
        return given
    found = sort(given, known, place, strict=False)
    if ignored is not None:
        for name in found.ignored:
            ignored.add(name, "options")
    return found.kept


def _whole(type_: type[Options], given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with integers where numbers with a point stand for them."""
    found = {name: given[name] for name in _integers(type_) & given.keys()}
    floats = [name for name, each in found.items() if isinstance(each, float) and abs(each) < EXACT]
    return {**given, **{name: int(given[name]) for name in floats}} if floats else given


@cache
def _integers(type_: type[Options]) -> frozenset[str]:
    """Return the names of options that are integers."""
    found = type_.model_fields.items()
    return frozenset(name for name, field in found if int in get_args(field.annotation))


def _numbers(properties: Any) -> None:
    """Describe integers as the numbers that they may be written as."""
    for name in _integers(Options):
        for form in properties[name].get("anyOf", [properties[name]]):
            if form.get("type") == "integer":
                form["type"] = "number"
