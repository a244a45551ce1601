"""Times to keep a model loaded, in all the forms that Ollama takes. Pure.

5, 0.5, "90"          seconds
"5m", "1h30m", "1.5s" durations as Go writes them
0, "0s"               not at all
-1, "-1m"             for ever, which is here: for the model's own time
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
MOST_S = 1e9
"""Longer times are as long."""
MAX_LENGTH = 64
"""Characters of a duration."""

_AMOUNT = r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})"
_PART = re.compile(rf"({_AMOUNT})({'|'.join(UNITS)})")
_WHOLE = re.compile(rf"[+-]?(?:{_AMOUNT}|(?:{_PART.pattern})+)")


def seconds(value: Any) -> Any:
    """Return a time in seconds, None for one below zero; what is no time is left as it is."""
    if isinstance(value, str):
        value = _duration(value.strip())
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None if value is None or value < 0 else min(float(value), MOST_S)
    raise PydanticCustomError(
        "no_time", "Input should be seconds, or a duration such as '5m' or '1h30m'"
    )


def _duration(text: str) -> float | bool:
    """Return a duration in seconds; False for a text that is none."""
    if len(text) > MAX_LENGTH or not _WHOLE.fullmatch(text):
        return False
    parts = _PART.findall(text)
    plain = text.lstrip("+-")
    total = sum(float(amount) * UNITS[unit] for amount, unit in parts) if parts else float(plain)
    return -total if text.startswith("-") else total


KeepAlive = Annotated[
    float | None,
    BeforeValidator(seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": r"^-?[0-9]{1,6}(ms|s|m|h)$"},
                {"type": "null"},
            ]
        }
    ),
]
"""Seconds; None: for the model's own time."""
