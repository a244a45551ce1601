"""Ollama's error shape: a text under "error"; Forge's code and field stand beside it."""

import orjson
from starlette.responses import Response

from gateway.api.infer import problem
from gateway.api.reply import json_response
from gateway.core.errors import ForgeError

ROOT = "/api"


def speaks(path: str) -> bool:
    """Tell if the dialect is spoken at a path."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def error_response(error: ForgeError) -> Response:
    return json_response(problem(error), error.status, error.retry_after)


def error_line(error: ForgeError) -> bytes:
    """Return the last line of a stream that failed."""
    return orjson.dumps(problem(error)) + b"\n"
