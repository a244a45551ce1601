"""``--sampling``: fields that requests have where they do not say them. Pure."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.errors import BadRequest

NO_DEFAULTS = frozenset(
    {"json_schema", "grammar", "cache_salt", "prompt_cache_key", "priority", "timeout"}
)
"""Fields of requests that are no defaults of a model."""
SamplingCheck = Callable[[dict[str, Any]], None]
"""Raises :class:`BadRequest` for defaults that a request could not have either."""


def joined(parts: Any) -> dict[str, Any]:
    """Return the fields of an object, of one as JSON, or of a list of such; the last counts.

    Raises ValueError.
    """
    found: dict[str, Any] = {}
    for part in parts if isinstance(parts, list) else [parts]:
        fields = _loaded(part) if isinstance(part, str) else part
        if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
            raise ValueError("expected a JSON object of a request's fields")
        found |= {name.replace("-", "_"): value for name, value in fields.items()}
    return found


def _loaded(text: str) -> Any:
    """Return a JSON value, or None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def check(defaults: dict[str, Any], check_fields: SamplingCheck) -> None:
    """Raises :class:`BadRequest` about the first field that is no default, or is wrong."""
    for name in defaults:
        if name in NO_DEFAULTS:
            raise BadRequest("this is no default of a model", param=name)
    check_fields(defaults)
