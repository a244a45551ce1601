"""OpenAI's error shape."""

from typing import NotRequired

from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api.reply import json_response
from gateway.core.errors import BudgetUsedUp, ContextOverflow, ForgeError, StorageFull
from gateway.core.usage import OpenAIUsage


class ErrorDetail(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None
    n_prompt_tokens: NotRequired[int]
    """Of a prompt that is too long: its tokens, or so many at least."""
    n_ctx: NotRequired[int]
    """Of a prompt that is too long: the most tokens that the context holds."""


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
    if isinstance(error, ContextOverflow) and error.n_prompt_tokens and error.n_ctx:
        content["error"]["n_prompt_tokens"] = error.n_prompt_tokens
        content["error"]["n_ctx"] = error.n_ctx
    if error.usage is not None:
        content["usage"] = error.usage.openai()
    return content


def error_response(error: ForgeError) -> Response:
    response = json_response(error_body(error), error.status, error.retry_after)
    if isinstance(error, BudgetUsedUp | StorageFull):
        # OpenAI's clients try again what is 429 or 5xx: here at once, for nothing.
        response.headers["x-should-retry"] = "false"
    return response
