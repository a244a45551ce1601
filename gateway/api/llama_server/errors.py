"""llama-server's error shape: the status as a number, and its own words for kinds of errors."""

from starlette.responses import Response

from gateway.api.llama_server.types import LlamaError, LlamaErrorDetail
from gateway.api.reply import json_response
from gateway.core.errors import ContextOverflow, ForgeError

PATHS = ("/completion", "/infill", "/props", "/slots", "/embedding", "/lora-adapters")
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}
"""Its type of an error by the status, where it has one."""


def speaks(path: str) -> bool:
    """Tell if the dialect is spoken at a path."""
    return path.startswith(PATHS) and (path in PATHS or path.startswith("/slots/"))


def error_body(error: ForgeError) -> LlamaError:
    detail: LlamaErrorDetail = {
        "code": error.status,
        "message": error.message,
        "type": KINDS.get(error.status, error.type),
        "reason": error.code,
    }
    if error.param is not None:
        detail["param"] = error.param
    if isinstance(error, ContextOverflow):
        detail["type"] = "exceed_context_size_error"
        if error.n_prompt_tokens and error.n_ctx:
            detail["n_prompt_tokens"], detail["n_ctx"] = error.n_prompt_tokens, error.n_ctx
            detail["message"] = (
                f"a prompt of {error.n_prompt_tokens} tokens and its answer exceeds the available "
                f"context size of {error.n_ctx} tokens"
            )
    return {"error": detail}


def error_response(error: ForgeError) -> Response:
    return json_response(error_body(error), error.status, error.retry_after)
