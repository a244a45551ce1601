"""The response object: as it is created, its token counts, and the errors it may end with."""

import re
from typing import Any

from gateway.api.responses.body import ResponseBody
from gateway.api.responses.types import ResponseError, ResponseObject, ResponseUsage
from gateway.core import errors
from gateway.core.errors import ForgeError
from gateway.core.usage import Usage
from gateway.dispatch.job import Job

TIERS = ("flex", "priority")
CODES: dict[type[ForgeError], str] = {
    errors.ContextOverflow: "context_length_exceeded",
    errors.BadRequest: "invalid_prompt",
    errors.QueueFull: "rate_limit_exceeded",
    errors.RateLimited: "rate_limit_exceeded",
    errors.Unavailable: "rate_limit_exceeded",
}
"""Codes that agents know; all others are a server_error, after which they try again."""


def created(id_: str, given: ResponseBody, job: Job, model: str, *, store: bool) -> ResponseObject:
    """Return a response that has just begun."""
    sampling, text = job.params.sampling, given.text
    form = None if text is None else text.format
    dumped: dict[str, Any] = {"type": "text"}
    if form is not None:
        dumped = form.model_dump(by_alias=True, exclude_none=True)
    response: ResponseObject = {
        "id": id_,
        "object": "response",
        "created_at": int(job.created),
        "status": "in_progress",
        "background": bool(given.background),
        "error": None,
        "incomplete_details": None,
        "instructions": _dumped(given.instructions),
        "max_output_tokens": job.params.max_tokens,
        "max_tool_calls": given.max_tool_calls,
        "metadata": given.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": given.parallel_tool_calls is not False,
        "previous_response_id": given.previous_response_id,
        "prompt_cache_key": given.prompt_cache_key,
        "reasoning": {
            "effort": None if given.reasoning is None else given.reasoning.effort,
            "summary": None if given.reasoning is None else given.reasoning.summary,
        },
        "safety_identifier": given.safety_identifier,
        "service_tier": given.service_tier if given.service_tier in TIERS else "default",
        "store": store,
        "temperature": sampling.temperature,
        "text": {"format": dumped, "verbosity": "medium"},
        "tool_choice": _dumped(given.tool_choice) or "auto",
        "tools": [_dumped(tool) for tool in given.tools or ()],
        "top_logprobs": given.top_logprobs or 0,
        "top_p": sampling.top_p,
        "truncation": given.truncation or "disabled",
        "usage": None,
        "user": given.user,
    }
    if given.conversation_id is not None:
        response["conversation"] = {"id": given.conversation_id}
    if text is not None and text.verbosity is not None:
        response["text"]["verbosity"] = text.verbosity
    return response


def _dumped(value: Any) -> Any:
    """Return a part of a body as the client wrote it."""
    if isinstance(value, list):
        return [_dumped(each) for each in value]
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True, exclude_none=True)
    return value


def usage_of(usage: Usage) -> ResponseUsage:
    """Return token counts in the dialect's shape."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.completion,
    }


def error_of(error: ForgeError) -> ResponseError:
    """Return an error as a response ends with it.

    Codex reads how long to wait out of the message, and tries again after it.
    """
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "server_error")
    message = error.message
    if code == "rate_limit_exceeded":
        message = f"{message.rstrip('.')}. Please try again in {error.retry_after or 1}s."
    return {"code": code, "message": message}


_TOOL = re.compile(r"tools\.(\d+)\.function(?=\.|\Z)")


def in_own_names(error: ForgeError, paths: list[str]) -> ForgeError:
    """Return a worker's error with the names that this dialect has for its fields."""
    found = _TOOL.match(error.param or "")
    if found is not None and int(found[1]) < len(paths):
        new = f"{paths[int(found[1])]}{error.param[found.end() :]}"  # type: ignore[index]
    elif error.param == "messages":
        new = "input"
    else:
        return error
    error.message = error.message.replace(f"'{error.param}'", f"'{new}'", 1)
    error.param = new
    return error
