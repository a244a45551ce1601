"""The bodies of /completion and /infill: llama-server's fields, with its names and defaults."""

from typing import Annotated, Any, ClassVar, cast

import msgspec
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from gateway.api.body import SamplingBody
from gateway.api.field_table import INFILL_API, LLAMA_COMPLETION
from gateway.api.llama_server.prompts import Prompts
from gateway.api.nested import Nested
from gateway.api.openai.common import MAX_CHOICES, MAX_SEQUENCES
from gateway.api.other_names import MAX_TOKENS, LlamaNames, Names
from gateway.api.samplers import MAX_BIASES, bias_of, problem
from gateway.api.schemas import constraint
from gateway.api.token_ids import MAX_ID
from gateway.core.errors import BadRequest
from gateway.core.validation import shown
from workers.protocol import Constraint, Infill, Prompt, Sampling

TEMPERATURE, TOP_K, TOP_P, MIN_P, LAST_N = 0.8, 40, 0.95, 0.05, 64
"""llama-server's defaults."""
MAX_PROBS = 100
"""Most alternatives of a token."""
MAX_FIELDS = 128
"""Most names in `response_fields`."""
MAX_FILES = 256
"""Most other files of a project."""
MAX_BIAS_TEXT = 256
"""Most characters of a text whose tokens get a bias."""


def _biases(value: Any) -> list[tuple[int | str, float]]:
    """Pairs or an object; a token by its id, or each token of a text."""
    if not isinstance(value, dict | list):
        raise problem("Input should be an object, or an array of pairs of a token and a bias")
    if len(value) > MAX_BIASES:
        raise problem(f"at most {MAX_BIASES} biases may be given")
    pairs = value.items() if isinstance(value, dict) else value
    return [_biased(pair, keyed=isinstance(value, dict)) for pair in pairs]


def _biased(pair: Any, *, keyed: bool) -> tuple[int | str, float]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise problem(f"an entry should be [token, bias], not {shown(pair)}")
    token, bias = pair
    if keyed and token.isascii() and token.isdigit() and len(token) <= 10:
        token = int(token)
    by_id = type(token) is int and 0 <= token <= MAX_ID
    if not by_id and not (isinstance(token, str) and 0 < len(token) <= MAX_BIAS_TEXT):
        raise problem(
            f"a token should be an id or a text of {MAX_BIAS_TEXT} characters at most, "
            f"not {shown(token)}"
        )
    return token, bias_of(bias)


_BIAS = {"anyOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": False}]}
_TOKEN = {
    "anyOf": [
        {"type": "integer", "minimum": 0, "maximum": MAX_ID},
        {"type": "string", "minLength": 1, "maxLength": MAX_BIAS_TEXT},
    ]
}
_PAIR = {"type": "array", "prefixItems": [_TOKEN, _BIAS], "minItems": 2, "maxItems": 2}
TextBias = Annotated[
    list[Any],
    BeforeValidator(_biases),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "propertyNames": {"minLength": 1, "maxLength": MAX_BIAS_TEXT},
                    "additionalProperties": _BIAS,
                    "maxProperties": MAX_BIASES,
                },
                {"type": "array", "items": _PAIR, "maxItems": MAX_BIASES},
            ]
        }
    ),
]


class LlamaBody(SamplingBody):
    """Fields of both endpoints. The sampling is llama-server's where a request does not say it."""

    model: str | None = None
    """The model's id; the first one if none is named."""
    stream: bool | None = None
    """True: the answer comes as server-sent events."""
    max_tokens: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """Another name of `n_predict`: the most tokens of an answer. Default, and -1: what the context
    holds. 0: none, the prompt is computed."""
    temperature: float | None = Field(None, ge=0, le=100)
    """0 is greedy. Default 0.8."""
    top_k: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """Only the k likeliest tokens; 0 and -1: all. Default 40."""
    top_p: float | None = Field(None, ge=0, le=1)
    """Only the likeliest tokens that together have this probability. Default 0.95."""
    min_p: float | None = Field(None, ge=0, le=1)
    """Only tokens this likely, relative to the likeliest. Default 0.05."""
    repeat_last_n: int | None = Field(None, ge=-1, le=MAX_TOKENS)
    """Sampled tokens that penalties count; -1: all. Default 64."""
    n_cmpl: int | None = Field(None, ge=1, le=MAX_CHOICES)
    """Number of answers to each prompt. Default 1."""
    n_probs: int | None = Field(None, ge=0, le=MAX_PROBS)
    """Number of likeliest tokens to tell for each token of the answer. Default 0."""
    post_sampling_probs: bool | None = None
    """True: probabilities are those among the tokens that the sampling left, as `prob` and
    `top_probs`."""
    return_tokens: bool | None = None
    """True: the ids of the answer's tokens are told, too. A stream always does."""
    timings_per_token: bool | None = None
    """True: each event of a stream has the timings so far."""
    return_progress: bool | None = None
    """True: a stream tells how much of the prompt is computed."""
    response_fields: list[Annotated[str, Field(max_length=256)]] | None = Field(
        None, max_length=MAX_FIELDS, fail_fast=True
    )
    """Fields of the answer that are wanted: `timings/prompt_n` is one of `timings`, told under that
    name."""
    n_indent: int | None = Field(None, ge=0, le=MAX_TOKENS)
    """A line that begins with fewer blanks ends the answer. Default 0: none does."""
    t_max_predict_ms: int | None = Field(None, ge=-1, le=2**53)
    """After so many milliseconds of answering the end of a line ends the answer. Default: no
    limit."""
    logit_bias: TextBias | None = None
    """Added to tokens' logits: by id, or for each token of a text; -100 and false ban."""

    others: SkipJsonSchema[LlamaNames | None] = None
    others_type: ClassVar[type[Names]] = LlamaNames

    def prompts(self) -> tuple[Prompt, ...]:
        """Return the prompts. Raises BadRequest for too many."""
        raise NotImplementedError

    def sampling(self, *, temperature: float) -> Sampling:
        ids = {token for token, _ in self.logit_bias or () if isinstance(token, int)}
        sums = dict.fromkeys(ids, 0.0)
        for token, bias in self.logit_bias or ():
            if isinstance(token, int):
                sums[token] += bias
        plain = self.model_copy(update={"logit_bias": list(sums.items()) or None})
        found = super(LlamaBody, plain).sampling(temperature=temperature)
        return msgspec.structs.replace(
            found,
            top_k=TOP_K if self.top_k is None else found.top_k,
            top_p=TOP_P if self.top_p is None else found.top_p,
            min_p=MIN_P if self.min_p is None else found.min_p,
            repeat_last_n=LAST_N if self.repeat_last_n is None else found.repeat_last_n,
        )

    def further_params(self) -> dict[str, Any]:
        texts = [pair for pair in self.logit_bias or () if isinstance(pair[0], str)]
        return {
            "final_logprobs": bool(self.post_sampling_probs),
            "text_biases": tuple(cast(list[tuple[str, float]], texts)),
            "indent": self.n_indent or 0,
            "line_limit_ms": max(0, self.t_max_predict_ms or 0),
            "compute_prompt": True,
            "tell_prompt": self.wants("prompt"),
            "tell_progress": bool(self.stream and self.return_progress),
        }

    def wants(self, name: str) -> bool:
        """Return whether the answer is to have a field."""
        wanted = self.response_fields
        return not wanted or any(each.partition("/")[0] == name for each in wanted)

    def alternatives(self) -> int | None:
        """Return the number of likeliest tokens to tell for each token, if any."""
        return self.n_probs or None

    def kept(self) -> str:
        """Return the field whose probabilities are kept until the answer is whole; "": none."""
        kept = self.n_probs and not self.stream and self.wants("completion_probabilities")
        return "n_probs" if kept else ""

    def constraint(self) -> Constraint | None:
        return constraint(None, self.json_schema, self.grammar, self.asked())

    def checked(self, prompts: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
        """Raises BadRequest for more answers than one request may have."""
        if len(prompts) * (self.n_cmpl or 1) > MAX_SEQUENCES:
            message = f"prompts times 'n_cmpl' may be {MAX_SEQUENCES} at most"
            raise BadRequest(message, param="n_cmpl")
        return prompts


class LlamaCompletionBody(LlamaBody):
    place = LLAMA_COMPLETION

    prompt: Prompts
    """A text, token ids, both in turn, or a list of such prompts."""

    def prompts(self) -> tuple[Prompt, ...]:
        return self.checked(tuple(self.prompt))


class ExtraFile(Nested):
    """Another file of the project."""

    place = "input_extra"

    text: str
    filename: str | None = None


class InfillBody(LlamaBody):
    place = INFILL_API

    input_prefix: str
    """The text before the gap."""
    input_suffix: str
    """The text after the gap."""
    input_extra: list[ExtraFile] | None = Field(None, max_length=MAX_FILES, fail_fast=True)
    """Other files of the project, which come before all."""
    prompt: str | None = None
    """The beginning of the text that fills the gap."""

    def prompts(self) -> tuple[Prompt, ...]:
        files = [(file.filename or "tmp", file.text) for file in self.input_extra or ()]
        gap = Infill(self.input_prefix, self.input_suffix, self.prompt or "", files)
        return self.checked((gap,))
