"""Numbers and truth values that a client wrote as strings, or integers as 5.0. Pure.

Looked for only where a body was refused: what is well written costs nothing. What could mean two
things stays refused, such as true for a number or 1 for a truth value.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

EXACT = 2**53
"""Integers up to here are themselves as floats."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}(\.0{1,9})?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_TRUTH = {"true": True, "false": False}


def corrected(raw: Mapping[str, Any], error: ValidationError) -> dict[str, Any] | None:
    """Return ``raw`` with values of the types that were missed; None if there are none to be."""
    found: dict[str, Any] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = problem["loc"][0] if problem["loc"] else ""
        value = _value(problem["type"], raw.get(str(name)))
        if value is not None:
            found[str(name)] = value
    return {**raw, **found} if found else None


def _value(wanted: str, value: Any) -> Any:
    if wanted == "int_type" and type(value) is float and abs(value) < EXACT and value.is_integer():
        return int(value)
    if not isinstance(value, str) or len(value) > 60:
        return None
    text = value.strip()
    if wanted == "int_type" and _INTEGER.fullmatch(text):
        return int(text.partition(".")[0])
    if wanted == "float_type" and _NUMBER.fullmatch(text):
        return float(text)
    return _TRUTH.get(text.lower()) if wanted == "bool_type" else None
