"""The seed's dialect: the shape of its errors."""

import orjson
import pytest

from gateway.api.infer import error_response
from gateway.core.errors import BadRequest, ForgeError, Unavailable, UnknownParameter, WorkerFailed


@pytest.mark.parametrize(
    ("error", "status", "content", "retry"),
    [
        (BadRequest("bad"), 400, {"error": "bad", "code": "invalid_request"}, None),
        (
            UnknownParameter("what?", param="x"),
            400,
            {"error": "what?", "code": "unknown_parameter", "param": "x"},
            None,
        ),
        (
            Unavailable("later", retry_after=5),
            503,
            {"error": "later", "code": "unavailable"},
            "5",
        ),
        (WorkerFailed("ü"), 500, {"error": "ü", "code": "worker_failed"}, None),
    ],
)
def test_error_response(
    error: ForgeError, status: int, content: dict[str, str], retry: str | None
) -> None:
    response = error_response(error)
    assert response.status_code == status
    assert response.media_type == "application/json"
    assert orjson.loads(response.body) == content
    assert response.headers.get("retry-after") == retry
