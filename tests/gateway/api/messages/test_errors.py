"""Errors in Anthropic's shape and words."""

import json

import pytest

from gateway.api.messages.errors import error_response, speaks
from gateway.core.errors import (
    BadRequest,
    ContextOverflow,
    ForgeError,
    InvalidKey,
    QueueFull,
    Unavailable,
    UnknownModel,
    WorkerFailed,
)


@pytest.mark.parametrize(
    ("error", "status", "kind", "again"),
    [
        (BadRequest("no", param="tools.0.name"), 400, "invalid_request_error", "false"),
        (InvalidKey("no"), 401, "authentication_error", "false"),
        (UnknownModel("no", param="model"), 404, "not_found_error", "false"),
        (QueueFull("no", retry_after=3), 429, "rate_limit_error", "true"),
        (WorkerFailed("no"), 500, "api_error", "false"),
        (Unavailable("no", retry_after=5), 503, "overloaded_error", "true"),
    ],
)
def test_errors(error: ForgeError, status: int, kind: str, again: str) -> None:
    response = error_response(error, "abc")
    body = json.loads(bytes(response.body))
    detail = {"type": kind, "message": "no", "code": error.code}
    detail |= {} if error.param is None else {"param": error.param}
    assert body == {"type": "error", "error": detail, "request_id": "req_abc"}
    assert response.status_code == status
    assert response.headers["request-id"] == "req_abc"
    assert response.headers["x-should-retry"] == again
    after = None if error.retry_after is None else str(error.retry_after)
    assert response.headers.get("retry-after") == after


def test_a_prompt_that_is_too_long_is_told_in_anthropics_words() -> None:
    error = ContextOverflow("long", n_prompt_tokens=210000, n_ctx=200000, param=None)
    body = json.loads(bytes(error_response(error, "abc").body))
    assert body["error"]["message"] == "prompt is too long: 210000 tokens > 200000 maximum"


def test_the_paths_of_the_dialect() -> None:
    assert [path for path in ("/v1/messages", "/v1/messages/batches") if not speaks(path)] == []
    assert not any(map(speaks, ("/v1/messagesx", "/v1", "/v1/models")))
