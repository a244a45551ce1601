"""Every parameter through the official client, streaming or not: nothing extra, nothing missing."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from gateway.api import field_policy
from gateway.api.body import SamplingBody
from gateway.api.embeddings import EmbeddingBody
from gateway.api.openai.chat import ChatBody
from gateway.api.openai.completions import CompletionBody
from tests.contract.test_openai_client import QUESTION, extras
from tests.contract.test_tools import NOW, WEATHER
from tests.support.server import ALIAS, ForgeServer

SCHEMA = {"enum": ["yes", "no"]}
BOTH: dict[str, Any] = {
    "model": ALIAS,
    "n": 2,
    "service_tier": "priority",
    "timings": True,
    "return_progress": True,
    "verbose": True,
    "user": "someone",
    "metadata": {"purpose": "test"},
    "safety_identifier": "abc",
    "prompt_cache_key": "abc",
    "prompt_cache_retention": "24h",
    "max_tokens": 3,
    "temperature": 0.5,
    "dynatemp_range": 0.3,
    "dynatemp_exponent": 1.5,
    "top_p": 0.9,
    "top_k": 20,
    "min_p": 0.1,
    "typical_p": 0.9,
    "top_n_sigma": 1.5,
    "xtc_probability": 0.5,
    "xtc_threshold": 0.2,
    "min_keep": 2,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repeat_penalty": 1.1,
    "repeat_last_n": 32,
    "dry_multiplier": 0.8,
    "dry_base": 1.8,
    "dry_allowed_length": 3,
    "dry_penalty_last_n": 64,
    "dry_sequence_breakers": ["\n"],
    "samplers": ["top_k", "temperature"],
    "logit_bias": {"50": -100, "60": 5},
    "cache_prompt": False,
    "cache_salt": "abc",
    "seed": 7,
    "stop": ["END", "\n\n\n"],
    "ignore_eos": True,
    "min_tokens": 2,
    "stop_token_ids": [5, 6],
    "thinking_budget_tokens": 5,
    "reasoning_budget_message": "That will do.",
    "json_schema": SCHEMA,
    "grammar": 'root ::= "yes"',
    "priority": "urgent",
    "timeout": 60,
}
CHAT_ONLY: dict[str, Any] = {
    "max_completion_tokens": 3,
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    "tools": [WEATHER, NOW],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "continue_final_message": False,
    "add_generation_prompt": True,
    "prediction": {"type": "content", "content": "Paris is the capital."},
    "store": True,
}
COMPLETIONS_ONLY: dict[str, Any] = {"echo": True, "logprobs": 2}
FOR_CHAT, FOR_COMPLETIONS = {**BOTH, **CHAT_ONLY}, {**BOTH, **COMPLETIONS_ONLY}
NEEDS: dict[str, dict[str, Any]] = {
    "top_logprobs": {"logprobs": True},
    "tool_choice": {"tools": [WEATHER]},
    "parallel_tool_calls": {"tools": [WEATHER]},
}
"""Parameters without which another makes no sense."""
OF_THE_MODEL = {
    "echo", "grammar", "json_schema", "logprobs", "parallel_tool_calls", "response_format",
    "tool_choice", "tools", "top_logprobs", "stop",
}  # fmt: skip
"""Parameters that change the form of an answer: only a model shows that it fits."""
ELSEWHERE = {"messages", "prompt", "stream", "stream_options", "suffix", "lora", "others"}
"""In every request here, or, like a suffix, refused by this model: see test_other_models.py, and
test_adapters.py."""


def params_of(type_: Any) -> set[str]:
    return set(type_.__annotations__)


CHAT_PARAMS = params_of(chat_create_params.CompletionCreateParamsBase)
COMPLETION_PARAMS = params_of(completion_create_params.CompletionCreateParamsBase)


@pytest.mark.parametrize(
    ("body", "tried", "params"),
    [
        (ChatBody, FOR_CHAT, CHAT_PARAMS),
        (CompletionBody, FOR_COMPLETIONS, COMPLETION_PARAMS),
    ],
    ids=["chat", "completions"],
)
def test_no_parameter_is_forgotten(
    body: type[SamplingBody], tried: dict[str, Any], params: set[str]
) -> None:
    """All that the client can send is served, and tried here, or refused by name."""
    rows = {row.name for row in field_policy.rows(body.place)}
    assert set(tried) | ELSEWHERE >= set(body.model_fields), "tried below"
    assert params - set(body.model_fields) - rows == set(), "of the client's parameters"


def test_no_parameter_of_embeddings_is_forgotten() -> None:
    rows = {row.name for row in field_policy.rows(EmbeddingBody.place)}
    params = params_of(embedding_create_params.EmbeddingCreateParams)
    assert params <= set(EmbeddingBody.model_fields) | rows


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def client_of(http: httpx.Client) -> openai.OpenAI:
    """The official client on top of another one, which stays open."""
    url = f"{str(http.base_url).rstrip('/')}/v1"
    inner: Any = http  # newer ones declare another package's client, and take this one
    return openai.OpenAI(base_url=url, api_key="any", max_retries=0, http_client=inner)


def arguments(name: str, value: Any, known: set[str]) -> dict[str, Any]:
    """As the client takes them: what it has no name for goes into ``extra_body``."""
    given = {"model": ALIAS, "max_tokens": 4, **NEEDS.get(name, {}), name: value}
    if name == "max_completion_tokens":
        del given["max_tokens"]
    own = {key: given[key] for key in given if key in known and key != "timeout"}
    return {**own, "extra_body": {key: given[key] for key in given if key not in own}}


ASKED_FOR = {
    "timings": ".timings",
    "return_progress": ".prompt_progress",
    "verbose": ".__verbose",
}
"""Fields that some parameters ask for."""


def unexpected(found: Any, name: str) -> list[str]:
    """Fields that the client does not know, but for those asked for."""
    return [field for field in extras(found) if field != ASKED_FOR.get(name)]


@pytest.mark.parametrize("name", [name for name in FOR_CHAT if name not in OF_THE_MODEL])
def test_chat(answering: httpx.Client, name: str) -> None:
    chat(client_of(answering), name)


@pytest.mark.parametrize("name", [name for name in FOR_CHAT if name in OF_THE_MODEL])
def test_a_chat_that_the_model_shapes(client: openai.OpenAI, name: str) -> None:
    chat(client, name)


def chat(client: openai.OpenAI, name: str) -> None:
    """Ask with the parameter, whole and streamed."""
    params = arguments(name, FOR_CHAT[name], CHAT_PARAMS)
    whole = client.chat.completions.create(messages=QUESTION, **params)
    assert unexpected(whole, name) == []
    assert len(whole.choices) == (2 if name == "n" else 1)
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 8
    reasons: list[str] = []
    for chunk in client.chat.completions.create(messages=QUESTION, stream=True, **params):
        assert unexpected(chunk, name) == []
        reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
    assert len(reasons) == len(whole.choices)


@pytest.mark.parametrize("name", [name for name in FOR_COMPLETIONS if name not in OF_THE_MODEL])
def test_completions(answering: httpx.Client, name: str) -> None:
    complete(client_of(answering), name)


@pytest.mark.parametrize("name", [name for name in FOR_COMPLETIONS if name in OF_THE_MODEL])
def test_a_completion_that_the_model_shapes(client: openai.OpenAI, name: str) -> None:
    complete(client, name)


def complete(client: openai.OpenAI, name: str) -> None:
    """Ask with the parameter, whole and streamed."""
    params = arguments(name, FOR_COMPLETIONS[name], COMPLETION_PARAMS)
    whole = client.completions.create(prompt="Once upon", **params)
    assert unexpected(whole, name) == []
    assert len(whole.choices) == (2 if name == "n" else 1)
    if name == "echo":
        assert whole.choices[0].text.startswith("Once upon")
    reasons: list[str] = []
    for chunk in client.completions.create(prompt="Once upon", stream=True, **params):
        assert unexpected(chunk, name) == []
        reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
    assert len(reasons) == len(whole.choices)


def test_timings(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=ALIAS, prompt="Once upon", max_tokens=5, extra_body={"timings": True}
    )
    found = (answer.model_extra or {})["timings"]
    assert found["predicted_n"] == 5
    assert found["cache_n"] + found["prompt_n"] == answer.usage.prompt_tokens  # type: ignore[union-attr]
    assert found["predicted_per_second"] > 0
