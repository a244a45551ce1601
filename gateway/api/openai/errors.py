"""OpenAI's error shape."""

from typing import NotRequired

from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api.reply import json_response
from gateway.core.errors import ForgeError
from gateway.core.usage import OpenAIUsage


class ErrorDetail(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    error: ErrorDetail
    usage: NotRequired[OpenAIUsage]
    """Tokens that were computed in vain."""


def error_body(error: ForgeError) -> ErrorBody:
    content: ErrorBody = {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
    if error.usage is not None:
        content["usage"] = error.usage.openai()
    return content


def error_response(error: ForgeError) -> Response:
    return json_response(error_body(error), error.status, error.retry_after)
