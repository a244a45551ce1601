"""Numbers of thousands of digits, which Python refuses to read, wherever a number may stand."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.api_description import description

DIGITS = "9" * 4301
API = description()
FORMS = (DIGITS, f'"{DIGITS}"', f'{{"{DIGITS}": 1}}', f"[{DIGITS}]")
"""A number, and where one may be written in JSON."""
OTHERS = ("/models/", "/v1/files", "/v1/uploads", "/v1/responses/input_tokens")
"""Endpoints whose bodies are no JSON, that change what is served, or that a model answers."""


def _of(schema: Any) -> dict[str, Any]:
    """A schema without the reference that leads to it."""
    while "$ref" in schema:
        _, kind, name = schema["$ref"].rsplit("/", 2)
        schema = API["components"][kind][name]
    found: dict[str, Any] = schema
    return found


def _numeric(schema: Any) -> bool:
    """Return whether a value may be a number, a list of such, or an object with any keys."""
    schema = _of(schema)
    kinds = {"integer", "number"}
    if schema.get("type") in kinds or schema.get("type") == "object":
        return True
    inner = [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]
    return any(map(_numeric, inner))


def _path(path: str) -> str:
    return "/".join("1" if part.startswith("{") else part for part in path.split("/"))


def _requests() -> Iterator[tuple[str, str, str]]:
    """The method, the path with its query, and the body of each request."""
    for path, operations in API["paths"].items():
        for method, operation in operations.items():
            for parameter in map(_of, operation.get("parameters", [])):
                if parameter["in"] == "query":
                    yield method, f"{_path(path)}?{parameter['name']}={DIGITS}", "{}"
            if method == "post" and not path.startswith(OTHERS):
                content = operation.get("requestBody", {}).get("content", {})
                schema = _of(content.get("application/json", {}).get("schema", {}))
                for name in schema.get("properties", {}):
                    if _numeric(schema["properties"][name]):
                        for form in FORMS:
                            yield method, path, f"{{{json.dumps(name)}: {form}}}"


REQUESTS = list(_requests())


@pytest.mark.parametrize("path", sorted({path for _, path, _ in REQUESTS}))
def test_they_are_no_bug(answering: httpx.Client, path: str) -> None:
    for method, at, body in REQUESTS:
        if at == path:
            content = None if method == "get" else body
            answer = answering.request(method, at, content=content)
            assert answer.status_code < 500, (method, at[:60], body[:60], answer.text[:200])


@pytest.mark.parametrize("name", ["X-Priority", "X-Request-Timeout"])
def test_in_headers(answering: httpx.Client, name: str) -> None:
    for path in ("/infer", "/v1/chat/completions", "/completion", "/v1/embeddings"):
        answer = answering.post(path, json={}, headers={name: DIGITS})
        assert answer.status_code == 400, answer.text[:200]
        assert len(answer.text) < 1000


def test_the_tried_are_many() -> None:
    assert len(REQUESTS) > 200
