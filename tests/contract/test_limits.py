"""Prompts, bodies, names, paths and methods that the server can't take."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.dialects import INFER, WAYS, Dialect, Way
from tests.support.server import ForgeServer

LONG = "7 + 7. " * 1000
"""More tokens than the context, and few enough bytes that only the tokeniser can tell."""
HUGE = "hello " * 300_000
"""More bytes than any 2048 tokens can have."""
BODY_LIMIT = 4 * 1024 * 1024


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_more_tokens_than_the_context(http: httpx.Client, way: Way) -> None:
    response = http.post(way.path, json=way.body(LONG))
    failure = way.dialect.refusal(response)
    assert (failure.status, failure.code) == (400, "context_length_exceeded")
    assert "tokens" in failure.message


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_more_bytes_than_the_context(front: httpx.Client, way: Way) -> None:
    """The gateway's own answer: no tokeniser sees this."""
    failure = way.dialect.refusal(front.post(way.path, json=way.body(HUGE)))
    assert (failure.status, failure.code) == (400, "context_length_exceeded")
    assert re.search(way.dialect.overflow, failure.message), failure.message


def test_the_longest_prompt_that_fits(http: httpx.Client, dialect: Dialect) -> None:
    """One token short of the context there is room for exactly one more."""
    context = 2048
    unit, text = " 7 +", ""
    params: dict[str, Any] = {"raw": True} if dialect is INFER else {}
    room: dict[str, Any] = {"max_tokens": 5, "ignore_eos": True}
    few = dialect.ask(http, unit * 10, max_tokens=1, **params).usage["prompt_tokens"]
    more = dialect.ask(http, unit * 20, max_tokens=1, **params).usage["prompt_tokens"]
    per_unit = (more - few) // 10
    text = unit * (20 + (context - 1 - more) // per_unit)
    usage = dialect.ask(http, text, **room, **params).usage
    assert context - per_unit <= usage["prompt_tokens"] < context
    # What doesn't fit any more is cut, not refused.
    assert usage["completion_tokens"] == min(5, context - usage["prompt_tokens"])
    body = dialect.body(text + unit, **room, **params)
    failure = dialect.refusal(http.post(dialect.path, json=body))
    assert failure.code == "context_length_exceeded"


def _chunks(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


@pytest.mark.parametrize("chunked", [False, True])
def test_body_too_large(front: httpx.Client, dialect: Dialect, chunked: bool) -> None:
    content = b" " * (BODY_LIMIT + 1)
    sent = _chunks(content) if chunked else content
    failure = dialect.refusal(front.post(dialect.path, content=sent))
    assert (failure.status, failure.code) == (413, "body_too_large")
    assert str(BODY_LIMIT) in failure.message


def test_largest_body(front: httpx.Client, dialect: Dialect) -> None:
    """At the limit it is read, and refused for what it says."""
    failure = dialect.refusal(front.post(dialect.path, content=b"{" + b" " * (BODY_LIMIT - 1)))
    assert failure.status == 400


def test_chunked_body(answering: httpx.Client, dialect: Dialect) -> None:
    content = json.dumps(dialect.body(max_tokens=1)).encode()
    chunks = iter([content[:9], content[9:-4], content[-4:]])
    response = answering.post(dialect.path, content=chunks)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("name", ["gpt-4o", "", "FORGE-TINY", "forge-tiny "])
@pytest.mark.parametrize("stream", [False, True])
def test_unknown_model(front: httpx.Client, streamed: Dialect, name: str, stream: bool) -> None:
    if streamed.caseless and name.isupper():
        name += "-2"
    body = streamed.body(model=name, stream=stream)
    failure = streamed.refusal(front.post(streamed.path, json=body))
    assert (failure.status, failure.code) == (404, "model_not_found")
    assert failure.param == "model"
    assert f"'{name}'" in failure.message


@pytest.mark.parametrize("path", ["/dashboard/x", "/v1", "/v1/nothing", "/v2/chat/completions"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_path(front: httpx.Client, method: str, path: str) -> None:
    response = front.request(method, path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"
    assert path in response.json()["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_wrong_method(front: httpx.Client, dialect: Dialect, method: str) -> None:
    response = front.request(method, dialect.path)
    failure = dialect.refusal(response)
    assert (failure.status, failure.code) == (405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    assert method in failure.message


@pytest.mark.parametrize("path", ["/health", "/metrics", "/workers", "/queue", "/v1/models"])
def test_read_only_paths(front: httpx.Client, path: str) -> None:
    response = front.post(path, json={})
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert response.json()["error"]["code"] == "method_not_allowed"


EXTREMES: list[dict[str, Any]] = [
    {"repeat_penalty": 1e-300},
    {"repeat_penalty": 1e-30},
    {"repeat_penalty": 10},
    {"temperature": 1e-320},
    {"temperature": 1e-30},
    {"temperature": 100},
    {"top_p": 0},
    {"top_p": 1e-300},
    {"min_p": 1},
    {"top_k": 2**31 - 1},
    {"top_k": -1},
    {"presence_penalty": -2, "frequency_penalty": -2, "temperature": 100},
    {"priority": 1e308},
    {"priority": -1e308},
    {"priority": 5e-324},
    {"stop": []},
    {"stop": ["x" * 10_000] * 16},
]


@pytest.mark.parametrize("params", EXTREMES, ids=str)
def test_extremes_that_are_allowed(
    server: ForgeServer, http: httpx.Client, dialect: Dialect, params: dict[str, Any]
) -> None:
    """Valid is valid: nothing here may disturb a worker (the http fixture checks its pid)."""
    sampled = {"temperature": 1.0, "ignore_eos": True, "max_tokens": 8, **params}
    assert dialect.ask(http, "hello", **sampled).usage["completion_tokens"] == 8
    assert all(worker["restarts"] == 0 for worker in server.workers())
