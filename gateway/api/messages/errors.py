"""Anthropic's error shape, and the headers by which its clients decide about another try."""

from typing import Literal, NotRequired

from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api.reply import json_response
from gateway.core.errors import BudgetUsedUp, ContextOverflow, ForgeError, UnsupportedParameter

PATH = "/v1/messages"
THREAD = "thread"
"""The field with which a client asks a server to keep a conversation."""
RETRIED = (408, 429, 503)
"""Statuses after which the same request may be answered."""
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's type of error by the status; another below 500 is one of the request."""


class UnsupportedDetails(TypedDict):
    """Of a `thread`: the client goes on without, and sends whole conversations."""

    error_code: Literal["thread_unsupported_request"]
    unsupported: list[str]


class MessagesErrorDetail(TypedDict):
    type: str
    message: str
    code: str
    """Forge's code for it, which is the same in all dialects."""
    param: NotRequired[str]
    """The field that is at fault."""
    details: NotRequired[UnsupportedDetails]


class MessagesError(TypedDict):
    type: Literal["error"]
    error: MessagesErrorDetail
    request_id: str
    """The request's name, as in the header ``request-id``."""


def speaks(path: str) -> bool:
    """Tell if the dialect is spoken at a path."""
    return path == PATH or path.startswith(f"{PATH}/")


def named(request_id: str) -> str:
    """Return a request's name as the dialect writes it."""
    return f"req_{request_id}"


def error_body(error: ForgeError, request_id: str) -> MessagesError:
    kind = KINDS.get(error.status, "api_error" if error.status >= 500 else KINDS[400])
    detail: MessagesErrorDetail = {
        "type": kind,
        "message": _message(error),
        "code": error.code,
    }
    if error.param is not None:
        detail["param"] = error.param
    if isinstance(error, UnsupportedParameter) and error.param == THREAD:
        # To ignore it would be worse: the next request would bring the newest messages alone.
        detail["details"] = {"error_code": "thread_unsupported_request", "unsupported": [THREAD]}
    return {"type": "error", "error": detail, "request_id": named(request_id)}


def error_response(error: ForgeError, request_id: str) -> Response:
    response = json_response(error_body(error, request_id), error.status, error.retry_after)
    response.headers["request-id"] = named(request_id)
    again = error.status in RETRIED and not isinstance(error, BudgetUsedUp)
    response.headers["x-should-retry"] = "true" if again else "false"
    return response


def _message(error: ForgeError) -> str:
    """Return an error's text; of a prompt that is too long Anthropic's words, which clients read
    the numbers from before they shorten the conversation."""
    if isinstance(error, ContextOverflow) and error.n_prompt_tokens and error.n_ctx:
        return f"prompt is too long: {error.n_prompt_tokens} tokens > {error.n_ctx} maximum"
    return error.message
