"""Parameters that would change the answer in a way that can't be honoured are refused by name."""

from typing import Any

import httpx
import pytest

from tests.support.dialects import CHAT, COMPLETIONS, Dialect

FUNCTION = {"name": "now", "parameters": {"type": "object", "properties": {}}}
FOR_CHAT: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "function_call": {"name": "now"},
    "functions": [FUNCTION],
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "web_search_options": {"search_context_size": "low"},
}
FOR_COMPLETIONS: dict[str, Any] = {"best_of": 2}
TABLES = [(CHAT, FOR_CHAT), (COMPLETIONS, FOR_COMPLETIONS)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("dialect", "name", "value"),
    [(dialect, name, value) for dialect, table in TABLES for name, value in table.items()],
    ids=str,
)
def test_refused_by_name(
    front: httpx.Client, dialect: Dialect, name: str, value: Any, stream: bool
) -> None:
    body = dialect.body(stream=stream, max_tokens=1, **{name: value})
    failure = dialect.refusal(front.post(dialect.path, json=body))
    assert (failure.status, failure.code) == (400, "unsupported_parameter")
    assert failure.param == name
    assert name in failure.message


NEUTRAL_BOTH: dict[str, Any] = {
    "logit_bias": {},
    "metadata": {"a": "b"},
    "user": 5,
    "safety_identifier": "someone",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
}
NEUTRAL_FOR_CHAT: dict[str, Any] = {
    **NEUTRAL_BOTH,
    "function_call": "auto",
    "functions": [],
    "logprobs": False,
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "response_format": {"type": "text"},
    "store": True,
    "prediction": None,
    "prompt_cache_options": {"mode": "explicit"},
    "tool_choice": "none",
    "tools": [],
    "verbosity": "medium",
}
NEUTRAL_FOR_COMPLETIONS: dict[str, Any] = {**NEUTRAL_BOTH, "best_of": 1, "echo": False}


@pytest.mark.parametrize(
    ("dialect", "params"), [(CHAT, NEUTRAL_FOR_CHAT), (COMPLETIONS, NEUTRAL_FOR_COMPLETIONS)]
)
def test_values_that_ask_for_nothing(
    answering: httpx.Client, dialect: Dialect, params: dict[str, Any]
) -> None:
    assert dialect.ask(answering, max_tokens=1, **params).usage["completion_tokens"] == 1


@pytest.mark.parametrize(("dialect", "table"), TABLES)
def test_null_asks_for_nothing(
    answering: httpx.Client, dialect: Dialect, table: dict[str, Any]
) -> None:
    optional = ("temperature", "top_p", "top_k", "min_p", "seed", "stop", "stream", "priority")
    nothing: dict[str, Any] = dict.fromkeys(
        [*table, *optional, "stream_options", "service_tier", "model"]
    )
    assert dialect.ask(answering, max_tokens=1, **nothing).usage["completion_tokens"] == 1


def test_equal_is_not_enough(front: httpx.Client) -> None:
    """In Python True == 1; in an API ``best_of: true`` is a mistake."""
    body = COMPLETIONS.body(best_of=True)
    assert COMPLETIONS.refusal(front.post(COMPLETIONS.path, json=body)).param == "best_of"
