"""The choice of a token: the fields for it that every generating endpoint takes.

Names, defaults and meanings are llama-server's, or OpenAI's where it has the parameter too.
"""

import math
import random
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.api.token_ids import MAX_ID
from gateway.core.strict import STRICT
from gateway.core.validation import shown
from workers.protocol import INFILL_SAMPLER, SAMPLERS, Dry, Sampling

MAX_INT = 2**31 - 1
MAX_BIAS = 100
"""OpenAI's bound; the negative one is a ban."""
MAX_BIASES = 1024

_random = random.Random()
"""Our own: other code may seed the module's, and all requests would get the same seeds."""
_SAMPLER_NAMES = {
    **{name: name for name in SAMPLERS},
    "typical_p": "typ_p",
    INFILL_SAMPLER: INFILL_SAMPLER,
}


def problem(message: str) -> PydanticCustomError:
    """Return what is wrong with a value, as pydantic wants to be told."""
    # Braces would be pydantic's placeholders.
    return PydanticCustomError("not_understood", "{message}", {"message": message})


def _order(value: Any) -> list[str]:
    """llama-server's names of samplers, each at most once."""
    if not isinstance(value, list):
        raise problem("Input should be an array of names of samplers")
    order: list[str] = []
    for name in value:
        known = _SAMPLER_NAMES.get(name) if isinstance(name, str) else None
        if known is None:
            names = ", ".join(f"'{name}'" for name in (*SAMPLERS, INFILL_SAMPLER))
            raise problem(f"there is no sampler {shown(name)}; there are {names}")
        if known in order:
            raise problem(f"'{name}' is there twice")
        order.append(known)
    return order


def _biases(value: Any) -> list[tuple[int, float]]:
    """OpenAI's object or llama-server's list of pairs; -100 and false are bans: -inf.

    Of a token that is there several times the biases are added up, as in llama-server; a ban stays.
    """
    if not isinstance(value, dict | list):
        raise problem("Input should be an object of token ids and biases, or an array of pairs")
    if len(value) > MAX_BIASES:
        raise problem(f"at most {MAX_BIASES} tokens can have a bias")
    biases: dict[int, float] = {}
    for token, bias in _pairs(value):
        biases[token] = biases.get(token, 0.0) + bias_of(bias)
    return list(biases.items())


def _pairs(value: dict[str, Any] | list[Any]) -> Iterator[tuple[int, Any]]:
    if isinstance(value, dict):
        for key, bias in value.items():
            if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= MAX_ID):
                raise problem(f'keys should be token ids such as "42", not {shown(key)}')
            yield int(key), bias
        return
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise problem(f"an entry should be [token id, bias], not {shown(pair)}")
        token, bias = pair
        if type(token) is not int or not 0 <= token <= MAX_ID:
            raise problem(f"tokens should be given by their ids, not as {shown(token)}")
        yield token, bias


def bias_of(value: Any) -> float:
    """Return a bias as a number. Raises PydanticCustomError."""
    if value is False:
        return -math.inf
    if type(value) not in (int, float) or not -MAX_BIAS <= value <= MAX_BIAS:
        wanted = f"a number from -{MAX_BIAS} to {MAX_BIAS}, or false"
        raise problem(f"a bias should be {wanted}, not {shown(value)}")
    return -math.inf if value == -MAX_BIAS else float(value)


_NUMBER_OR_BAN = {
    "anyOf": [{"type": "number", "minimum": -MAX_BIAS, "maximum": MAX_BIAS}, {"const": False}]
}
_TOKEN_ID = {"type": "integer", "minimum": 0, "maximum": MAX_ID}
_BIAS_SCHEMA = {
    "anyOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": "^[0-9]{1,10}$"},
            "additionalProperties": _NUMBER_OR_BAN,
            "maxProperties": MAX_BIASES,
        },
        {
            "type": "array",
            "items": {
                "type": "array",
                "prefixItems": [_TOKEN_ID, _NUMBER_OR_BAN],
                "minItems": 2,
                "maxItems": 2,
            },
            "maxItems": MAX_BIASES,
        },
    ]
}
_ORDER_SCHEMA = {
    "type": "array",
    "items": {"enum": list(_SAMPLER_NAMES)},
    "uniqueItems": True,
    "maxItems": len(SAMPLERS) + 1,
}
Bias = Annotated[float, Field(allow_inf_nan=True)]
LogitBias = Annotated[
    list[tuple[int, Bias]], BeforeValidator(_biases), WithJsonSchema(_BIAS_SCHEMA)
]
Order = Annotated[list[str], BeforeValidator(_order), WithJsonSchema(_ORDER_SCHEMA)]
Breaker = Annotated[str, Field(min_length=1, max_length=64)]


class SamplersBody(BaseModel):
    """None (or absent) means the default."""

    model_config = {**STRICT, "protected_namespaces": (), "allow_inf_nan": False}

    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    """The same one gives the same text. Default, and -1: random; the one used is in `X-Seed`."""
    temperature: float | None = Field(None, ge=0, le=100)
    """0 is greedy. Default 1; of /infer 0."""
    dynatemp_range: float | None = Field(None, ge=0, le=100)
    """The temperature varies by so much with the entropy. Default 0: it does not."""
    dynatemp_exponent: float | None = Field(None, ge=0, le=100)
    """Exponent that turns the entropy into a temperature. Default 1."""
    top_k: int | None = Field(None, ge=-1, le=MAX_INT)
    """Only the k likeliest tokens. Default 0: all; -1 too."""
    top_p: float | None = Field(None, ge=0, le=1)
    """Only the likeliest tokens that together have this probability. Default 1."""
    min_p: float | None = Field(None, ge=0, le=1)
    """Only tokens this likely, relative to the likeliest. Default 0."""
    typical_p: float | None = Field(None, ge=0, le=1)
    """Locally typical sampling. Default 1: off."""
    top_n_sigma: float | None = Field(None, ge=-1, le=100)
    """Only tokens within so many standard deviations of the likeliest. Default 0: off."""
    xtc_probability: float | None = Field(None, ge=0, le=1)
    """Probability of leaving out all of the likely tokens but the last. Default 0."""
    xtc_threshold: float | None = Field(None, ge=0, le=1)
    """Least probability of a token that XTC may leave out. Default 0.1."""
    min_keep: int | None = Field(None, ge=0, le=MAX_INT)
    """Tokens that the stages leave at least. Default 0."""
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    """For tokens that were sampled before. Default 0."""
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    """The same, for each time. Default 0."""
    repeat_penalty: float | None = Field(None, gt=0, le=10)
    """Divides the logits of tokens that were sampled before. Default 1."""
    repeat_last_n: int | None = Field(None, ge=-1, le=MAX_INT)
    """Sampled tokens that penalties count; -1: all. Default 64 for `repeat_penalty`, else all."""
    dry_multiplier: float | None = Field(None, ge=0, le=100)
    """Penalty of a token that continues a repetition. Default 0: off."""
    dry_base: float | None = Field(None, ge=1, le=100)
    """Factor of the penalty for each token of the repetition. Default 1.75."""
    dry_allowed_length: int | None = Field(None, ge=1, le=MAX_INT)
    """Length that a repetition may have, in tokens. Default 2."""
    dry_penalty_last_n: int | None = Field(None, ge=-1, le=MAX_INT)
    """Sampled tokens to look back for one; -1: 1,024. Default 64."""
    dry_sequence_breakers: list[Breaker] | None = Field(None, max_length=16, fail_fast=True)
    """Texts that end a repetition. Default: newline, colon, quote, asterisk."""
    samplers: Order | None = None
    """The stages by name, in their order. `infill` is used only where it is named."""
    logit_bias: LogitBias | None = None
    """Added to tokens' logits: by id, or pairs of id and bias; -100 and false ban."""

    def sampling(self, *, temperature: float) -> Sampling:
        """The sampling asked for; ``temperature`` is the dialect's default."""
        seed = _random.getrandbits(32) if self.seed in (None, -1) else self.seed
        assert seed is not None
        if self.model_fields_set.isdisjoint(_STAGES):  # nearly always
            return Sampling(seed, _default(self.temperature, temperature))
        return Sampling(
            seed=seed,
            temperature=_default(self.temperature, temperature),
            dynatemp_range=_default(self.dynatemp_range, 0.0),
            dynatemp_exponent=_default(self.dynatemp_exponent, 1.0),
            top_k=max(0, self.top_k or 0),
            top_p=_default(self.top_p, 1.0),
            min_p=_default(self.min_p, 0.0),
            typical_p=_default(self.typical_p, 1.0),
            top_n_sigma=max(0.0, self.top_n_sigma or 0.0),
            xtc_probability=_default(self.xtc_probability, 0.0),
            xtc_threshold=_default(self.xtc_threshold, 0.1),
            min_keep=self.min_keep or 0,
            presence_penalty=_default(self.presence_penalty, 0.0),
            frequency_penalty=_default(self.frequency_penalty, 0.0),
            repeat_penalty=_default(self.repeat_penalty, 1.0),
            repeat_last_n=self.repeat_last_n,
            dry=self._dry(),
            samplers=self.samplers,
            logit_bias=self.logit_bias or [],
        )

    def _dry(self) -> Dry | None:
        if not self.dry_multiplier or self.dry_penalty_last_n == 0:
            return None
        breakers = self.dry_sequence_breakers
        asked = {
            "base": self.dry_base,
            "allowed_length": self.dry_allowed_length,
            "last_n": self.dry_penalty_last_n,
            "breakers": None if breakers is None else tuple(breakers),
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return msgspec.structs.replace(Dry(self.dry_multiplier), **given)


_STAGES = frozenset(SamplersBody.model_fields) - {"seed", "temperature"}
"""Fields without which the default is all there is to say."""


def _default(value: float | None, default: float) -> float:
    return default if value is None else float(value)
