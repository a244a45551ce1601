"""The parameters of a generation: sampling, limits and the answer's form; or of a pooled input."""

from typing import Any

import msgspec

from workers.protocol.adapters import NO_ADAPTERS, AdapterSet

STRICT_SCHEMA = ("json_schema", "schema")
"""The steps to the only schemas of answers that state their own strictness."""


class JsonSchema(msgspec.Struct, frozen=True, tag="schema"):
    """The answer must be JSON of this schema."""

    schema: dict[str, Any]
    strict: bool = True
    """False: what of the schema can't be enforced is left to the model."""
    param: str = "response_format"
    """The field of the request it came from, to be named if it can't be enforced."""
    within: tuple[str, ...] = ()
    """The steps from that field to the schema."""


class Grammar(msgspec.Struct, frozen=True, tag="grammar"):
    """The answer must be a sentence of this grammar, in GBNF or llguidance's Lark."""

    source: str
    param: str = "grammar"


Constraint = JsonSchema | Grammar


SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typ_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
"""The stages of a request by llama-server's names, in its default order."""
INFILL_SAMPLER = "infill"
"""Another stage, which is used only where a request names it: it ends a filling early."""


class Dry(msgspec.Struct, frozen=True, array_like=True):
    """Don't repeat yourself: a token that would make a repetition longer than ``allowed_length``
    tokens costs ``multiplier * base ** (tokens above that)``, subtracted from its logit."""

    multiplier: float
    base: float = 1.75
    allowed_length: int = 2
    last_n: int = 64
    """Sampled tokens that are looked at; -1: as many as possible."""
    breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    """Texts at which a repetition ends."""


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """The choice of a token. Neutral values switch a stage off; temperature 0 is greedy."""

    seed: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int | None = None
    """Sampled tokens that penalties count; -1: all. None: 64 for ``repeat_penalty`` as in
    llama-server, all for the other two as in OpenAI's API."""
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    min_keep: int = 0
    """Candidates that the stages which cut by probability leave at least."""
    dry: Dry | None = None
    logit_bias: list[tuple[int, float]] = []
    """Added to the logits of these tokens, before all stages; -inf is a ban."""
    samplers: list[str] | None = None
    """Names of the stages that are used, in their order; None: all of SAMPLERS."""


class Embedding(msgspec.Struct, frozen=True):
    """The vector of the prompt is wanted, and no answer."""

    dimensions: int | None = None
    """Number of its first components to give; None: all."""
    cut: bool = False
    """True: an input that is too long loses its end; False: it is refused."""


class Ranking(msgspec.Struct, frozen=True):
    """The score of a pair of texts is wanted, and no answer."""

    normalize: bool | None = None
    """True: between 0 and 1; False: as the model gives it. None: True if it has one class."""
    cut: bool = False
    """True: a document loses its end where the pair is too long, which is refused otherwise."""
    longest_document: int | None = None
    """Tokens to which each document is cut."""
    longest_pair: int | None = None
    """Tokens to which each pair is cut, at the end of its document."""


class GenerationParams(msgspec.Struct, frozen=True):
    """The parameters of a generation: one value from the request's body to the worker's sequence.

    The gateway makes it once, shares it among a request's sequences and never changes it: a
    sequence that differs (its seed, an echo already delivered) gets a copy.
    """

    sampling: Sampling
    max_tokens: int | None = None
    """None: as many as the context holds."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are no part of it."""
    ignore_eos: bool = False
    """True: go on after the model's end-of-sequence token."""
    constraint: Constraint | None = None
    """The form of the answer, beside the form that tools and reasoning ask for."""
    logprobs: int | None = None
    """Alternatives of each sampled token to report with their log probabilities, if any."""
    echo: bool = False
    """True if the text of the prompt comes first, with its logprobs if those are asked for."""
    cache_prompt: bool = True
    """True if the prompt may start from what was computed for another request."""
    min_tokens: int = 0
    """Before so many neither the model nor a stop text or token ends the answer."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the answer, beside the model's own; they are no part of it."""
    embedding: Embedding | None = None
    """Then the prompt becomes a vector, which ``Finished`` brings, and nothing is generated."""
    ranking: Ranking | None = None
    """Then the prompt is a pair, whose score ``Finished`` brings, and nothing is generated."""
    prediction: str = ""
    """A text that the answer may resemble: it is drafted from, and never changes an answer."""
    context: int | None = None
    """The most tokens of prompt and answer together; None: what the model's context holds."""
    cut_after: int | None = None
    """Of a prompt that is too long: so many of its first tokens stay, and those after them go until
    the rest has room; None: it is refused."""
    prompt_ids: bool = False
    """True: ``Started`` brings the prompt's tokens."""
    final_logprobs: bool = False
    """True if log probabilities are those among the candidates that the sampling left."""
    text_biases: tuple[tuple[str, float], ...] = ()
    """Biases as in ``sampling.logit_bias``, for each token of these texts."""
    indent: int = 0
    """A line of the answer after the first that begins with fewer blanks ends it, and is cut."""
    line_limit_ms: int = 0
    """The first line that ends after so much time since the first token ends the answer; 0: no
    limit."""
    compute_prompt: bool = False
    """True: the prompt is computed for requests to come, even if no token is wanted."""
    tell_prompt: bool = False
    """True if the text of the prompt is wanted, with the names of its control tokens."""
    tell_progress: bool = False
    """True if it is to be told how much of the prompt is computed."""
    thought_limit: int | None = None
    """Tokens after which a thought is closed; None: it has no limit of its own."""
    thought_end: str = ""
    """Text before the tag that closes it then, as a part of the thought."""
    adapters: AdapterSet = NO_ADAPTERS
    """LoRA adapters with which all of it is computed, prompt and answer."""

    @property
    def generates(self) -> bool:
        """Return whether an answer is wanted, and not a vector or a score."""
        return self.embedding is None and self.ranking is None
