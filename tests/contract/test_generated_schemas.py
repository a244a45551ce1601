"""Two hundred generated schemas: what the model finishes is valid, every time."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.dialects import CHAT, Answer
from tests.support.schema_strategy import schemas

COUNT = 200
TOKENS = 120
VALIDATOR = jsonschema.Draft202012Validator


@pytest.fixture(scope="module")
def generated() -> list[dict[str, Any]]:
    """The same ones in every run."""
    found: list[dict[str, Any]] = []

    @seed(20261122)
    @settings(
        max_examples=COUNT,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(schemas())
    def collect(schema: dict[str, Any]) -> None:
        found.append(schema)

    collect()
    assert len(found) >= COUNT
    return found[:COUNT]


@pytest.mark.timeout(600)
def test_what_ends_by_itself_is_valid(http: httpx.Client, generated: list[dict[str, Any]]) -> None:
    def ask(number: int) -> Answer:
        params: dict[str, Any] = {"seed": number, "max_tokens": TOKENS}
        return CHAT.ask(http, "Write JSON.", json_schema=generated[number], **params)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(COUNT)))
    finished = 0
    for schema, answer in zip(generated, answers, strict=True):
        VALIDATOR.check_schema(schema)
        if answer.reason != "stop":
            assert answer.usage["completion_tokens"] == TOKENS
            continue
        finished += 1
        value = json.loads(answer.text)
        VALIDATOR(schema, format_checker=VALIDATOR.FORMAT_CHECKER).validate(value)
    assert finished > COUNT * 0.6, "most schemas are small enough to be filled"
