"""llama-server's samplers and OpenAI's logit_bias, over HTTP in every dialect.

That each of them does what it should is tested on the engine; here, that each of them gets there.
"""

from typing import Any

import httpx
import pytest

from tests.contract.conftest import Asked
from tests.support.dialects import CHAT, INFER, Dialect

STORY = "tell me a story about a fox"
GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 24}
SAMPLED: dict[str, Any] = {"temperature": 1, "seed": 7, "ignore_eos": True, "max_tokens": 24}
NO_CUTS: dict[str, Any] = {"top_k": 0, "top_p": 1, "min_p": 0}
"""Stages that llama-server's dialect has switched on unless it is told."""
N_VOCAB = 2048

ACTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("typical_p", SAMPLED, {"typical_p": 1e-6}),
    ("top_n_sigma", SAMPLED, {"top_n_sigma": 0.001}),
    ("xtc", GREEDY, {"xtc_probability": 1, "xtc_threshold": 0.0001}),
    ("dry", {**GREEDY, "max_tokens": 60}, {"dry_multiplier": 100, "dry_allowed_length": 1}),
    ("dynatemp_range", SAMPLED, {"dynatemp_range": 1, "dynatemp_exponent": 100}),
    (
        "repeat_last_n",
        {**GREEDY, "max_tokens": 100, "frequency_penalty": 2},
        {"repeat_last_n": 0},
    ),
    ("min_keep", {**SAMPLED, "top_p": 0}, {"min_keep": 50}),
    ("samplers", {**SAMPLED, "top_k": 1}, {"samplers": ["top_p", "temperature"]}),
    ("logit_bias", GREEDY, {"logit_bias": {"700": 100}}),
]
DRY: dict[str, Any] = {
    **GREEDY,
    "max_tokens": 60,
    "dry_multiplier": 100,
    "dry_allowed_length": 1,
    "dry_penalty_last_n": -1,
    "dry_sequence_breakers": [],
}
ALSO_DRY = [
    {"dry_multiplier": 0.01},
    {"dry_base": 1, "dry_multiplier": 0.01},
    {"dry_allowed_length": 5},
    {"dry_penalty_last_n": 4},
    {"dry_sequence_breakers": [" "]},
]
NEUTRAL: dict[str, Any] = {
    "typical_p": 1,
    "top_n_sigma": -1,
    "xtc_probability": 0,
    "xtc_threshold": 0.1,
    "dry_multiplier": 0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 64,
    "dry_sequence_breakers": ["\n"],
    "dynatemp_range": 0,
    "dynatemp_exponent": 1,
    "repeat_last_n": 64,
    "min_keep": 0,
    "logit_bias": {},
    "mirostat": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "adaptive_target": -1,
    "adaptive_decay": 0.9,
    "cache_prompt": True,
}


@pytest.mark.parametrize(("base", "params"), [a[1:] for a in ACTS], ids=[a[0] for a in ACTS])
def test_each_acts(
    exact_http: httpx.Client,
    once: Asked,
    dialect: Dialect,
    base: dict[str, Any],
    params: dict[str, Any],
) -> None:
    plain = once(dialect, STORY, **base)
    assert dialect.ask(exact_http, STORY, **base, **params).text != plain


@pytest.mark.parametrize("params", ALSO_DRY, ids=str)
def test_the_parts_of_dry(exact_http: httpx.Client, once: Asked, params: dict[str, Any]) -> None:
    strict = once(INFER, STORY, **DRY)
    assert INFER.ask(exact_http, STORY, **{**DRY, **params}).text != strict


def test_neutral_values(exact_http: httpx.Client, once: Asked, dialect: Dialect) -> None:
    plain = once(dialect, STORY, **SAMPLED)
    assert dialect.ask(exact_http, STORY, **SAMPLED, **NEUTRAL).text == plain
    null = dict.fromkeys([*NEUTRAL, "samplers"])
    assert dialect.ask(exact_http, STORY, **SAMPLED, **null).text == plain


@pytest.mark.parametrize(
    "params",
    [
        {"top_n_sigma": 0.001},
        {"dynatemp_range": 1, "dynatemp_exponent": 100},
        {"top_k": 1, "samplers": ["top_k"]},
    ],
    ids=str,
)
def test_other_words_for_greedy(
    exact_http: httpx.Client, dialect: Dialect, params: dict[str, Any]
) -> None:
    greedy = dialect.ask(exact_http, STORY, **GREEDY).text
    assert dialect.ask(exact_http, STORY, **{**SAMPLED, **NO_CUTS, **params}).text == greedy


def test_a_ban_is_more_than_a_bias(exact_http: httpx.Client, dialect: Dialect) -> None:
    """At temperature 100 even a bias of -99 leaves a token a chance; -100 and false do not."""
    even = range(0, N_VOCAB, 2)
    hot = {**SAMPLED, **NO_CUTS, "temperature": 100}
    banned = dialect.ask(exact_http, STORY, **hot, logit_bias={str(id_): -100 for id_ in even})
    also = dialect.ask(exact_http, STORY, **hot, logit_bias=[[id_, False] for id_ in even])
    rare = dialect.ask(exact_http, STORY, **hot, logit_bias={str(id_): -99 for id_ in even})
    assert banned.text == also.text != rare.text


def test_a_stream_with_all_of_them(exact_http: httpx.Client, streamed: Dialect) -> None:
    params: dict[str, Any] = {
        **SAMPLED,
        "typical_p": 0.95,
        "top_n_sigma": 3,
        "xtc_probability": 0.5,
        "dry_multiplier": 0.8,
        "dynatemp_range": 0.5,
        "logit_bias": {"700": 2},
        "samplers": ["dry", "temperature", "xtc", "typical_p", "penalties", "top_n_sigma"],
    }
    whole = streamed.ask(exact_http, STORY, **params).text
    assert streamed.joined(streamed.stream(exact_http, STORY, **params)) == whole


def test_a_prompt_that_must_not_be_cached(http: httpx.Client, dialect: Dialect) -> None:
    prompt = f"{dialect.name} asks twice: " + " ".join(str(n * 7) for n in range(60))
    first = dialect.ask(http, prompt, max_tokens=1).usage
    anew = dialect.ask(http, prompt, max_tokens=1, cache_prompt=False).usage
    assert anew["prompt_tokens"] == first["prompt_tokens"]
    assert anew["prompt_tokens_details"]["cached_tokens"] == 0


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("logit_bias", {str(N_VOCAB): 1}, "0 to 2047, not 2048"),
        ("logit_bias", [[5, 1], [2**31 - 1, False]], "not 2147483647"),
        ("logit_bias", {"": 1}, "''"),
        ("logit_bias", {"5": 101}, "101"),
        ("samplers", ["top_k", "mirostat"], "'mirostat'"),
        ("samplers", ["top_k"] * 10_000, "twice"),
        ("dry_sequence_breakers", ["x" * 1000] * 4000, "64"),
        ("dry_base", 0.5, "1"),
        ("typical_p", 2, "1"),
        ("cache_prompt", 1, "boolean"),
        ("cache_salt", 1, "string"),
        ("cache_salt", ["a"], "string"),
        ("cache_salt", "x" * 1025, "1024"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused(front: httpx.Client, dialect: Dialect, field: str, value: Any, named: str) -> None:
    failure = dialect.refusal(front.post(dialect.path, json=dialect.body(**{field: value})))
    assert (failure.status, failure.code) == (400, "invalid_request")
    assert failure.param is not None
    assert failure.param.split(".")[0] == field
    assert field in failure.message
    assert named in failure.message


@pytest.mark.parametrize("params", [{"mirostat": 2}, {"adaptive_target": 0.5}])
def test_stateful_samplers_are_refused(
    answering: httpx.Client, dialect: Dialect, params: dict[str, Any]
) -> None:
    if dialect.stateful == "ignored":
        (name,) = params
        body = dialect.body(max_tokens=1, **params)
        told = answering.post(dialect.path, json=body).headers["x-ignored-parameters"]
        assert told.removeprefix("options.") == name
        return
    failure = dialect.refusal(answering.post(dialect.path, json=dialect.body(**params)))
    assert (failure.status, failure.code) == (400, "unsupported_parameter")
    assert failure.param in params
    assert "another worker" in failure.message


def test_extreme_values(http: httpx.Client, dialect: Dialect) -> None:
    """All at the far end of what they may be: the worker must live, and answer."""
    large = 2**31 - 1
    answer = dialect.ask(
        http,
        max_tokens=8,
        ignore_eos=True,
        min_keep=large,
        top_p=0.5,
        min_p=0.5,
        typical_p=0.5,
        top_k=large,
        repeat_penalty=1.1,
        repeat_last_n=large,
        dry_multiplier=100,
        dry_base=100,
        dry_allowed_length=1,
        dry_penalty_last_n=large,
        dry_sequence_breakers=["x" * 64] * 16,
        dynatemp_range=100,
        dynatemp_exponent=100,
        xtc_probability=1,
        xtc_threshold=0,
        top_n_sigma=100,
        logit_bias={str(id_): 100 for id_ in range(1024)},
    )
    assert answer.usage["completion_tokens"] == 8


def test_the_same_without_a_template(exact_http: httpx.Client) -> None:
    """Both are chats to the model."""
    params = {**SAMPLED, "xtc_probability": 0.5, "dry_multiplier": 1}
    texts = {dialect.ask(exact_http, STORY, **params).text for dialect in (CHAT, INFER)}
    assert len(texts) == 1
