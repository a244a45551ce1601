"""The values that the keywords of a schema take, and those that can be enforced. Pure."""

import math
from collections.abc import Callable
from typing import Any

TYPES = ("null", "boolean", "object", "array", "number", "string", "integer")
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname"} | {
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
}
"""Formats that can be enforced. Others are annotations, as JSON Schema has it."""
UNSUPPORTED = {
    "not",
    "if",
    "then",
    "else",
    "contains",
    "minContains",
    "maxContains",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "unevaluatedItems",
    "$dynamicRef",
    "$recursiveRef",
}
"""Keywords that restrict and can't be enforced."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return _number(value) and value >= 0 and value == int(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _values(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


LEAVES: dict[str, Callable[[Any], bool]] = {
    "enum": _values,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": _positive,
    "minLength": _count,
    "maxLength": _count,
    "format": _text,
    "pattern": _text,
    "minItems": _count,
    "maxItems": _count,
}
"""Keywords whose value is no schema, and what that must be."""
COUNTS = {keyword for keyword, right in LEAVES.items() if right is _count}
_EXCLUSIVE = (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))


def modern(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without nulls, and in today's words where older drafts had others."""
    out = {
        keyword: value
        for keyword, value in schema.items()
        if value is not None or keyword == "const"
    }
    for bound, exclusive in _EXCLUSIVE:  # draft 4: a flag beside the bound
        if isinstance(flag := out.get(exclusive), bool):
            del out[exclusive]
            if flag and bound in out:
                out[exclusive] = out.pop(bound)
    if isinstance(out.get("items"), list):  # before 2020: one for each place
        out["prefixItems"] = out.pop("items")
        if "additionalItems" in out:
            out["items"] = out.pop("additionalItems")
    return out
