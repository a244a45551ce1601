"""Priorities that have a name; any number is one too, and larger is more urgent. Pure."""

import math
from typing import Any

PRIORITIES = {"batch": 0.0, "normal": 1.0, "urgent": 2.0}
NORMAL = PRIORITIES["normal"]

OTHER = "other"
CLASSES = (*PRIORITIES, OTHER)
"""The classes of metrics and logs: any number may be a priority, but no number of series."""
_NAMES = {value: name for name, value in PRIORITIES.items()}


def class_of(priority: float) -> str:
    """Return the name of a priority, or OTHER: a 7 means what its clients agree on."""
    return _NAMES.get(priority, OTHER)


def priority_of(value: Any) -> float:
    """Return the priority that an operator writes by name or by number. Raises ValueError."""
    if isinstance(value, str) and value.lower() in PRIORITIES:
        return PRIORITIES[value.lower()]
    number = math.nan
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if math.isfinite(number):
        return number
    names = ", ".join(f"'{name}'" for name in PRIORITIES)
    raise ValueError(f"must be a finite number or one of {names}")


def priority_text(value: float) -> str:
    """A priority as people write it: every digit that counts, and no ".0"."""
    return repr(value).removesuffix(".0")
