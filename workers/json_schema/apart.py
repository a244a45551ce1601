"""Branches of ``oneOf`` that no value can satisfy together: as good as ``anyOf``. Pure."""

import json
from typing import Any

from workers.json_schema.places import Place, References

_LINKS = 16
"""References of references that are followed."""


def told_apart(place: Place, references: References) -> bool:
    """Return whether a discriminator, types or a required constant keep the branches apart."""
    discriminator = place.schema.get("discriminator")
    if isinstance(discriminator, dict) and isinstance(discriminator.get("propertyName"), str):
        return True
    branches = [_followed(branch, references) for branch in place.several("oneOf")]
    objects = [branch for branch in branches if "object" in _types(branch)]
    if len(branches) != len(place.schema["oneOf"]) or any(len(_types(b)) > 1 for b in objects):
        return False
    return _by_type([b for b in branches if b not in objects]) and _by_constant(objects)


def _followed(branch: Place, references: References) -> dict[str, Any]:
    for _ in range(_LINKS):
        if (target := references.target(branch)) is None:
            break
        branch = target
    return branch.schema


def _types(schema: dict[str, Any]) -> set[str]:
    """The types that a schema allows; a number may be an integer. {"object", ...}: any."""
    given = schema.get("type")
    if given is None and isinstance(schema.get("properties"), dict) and schema.get("required"):
        return {"object", "any"}
    types = {given} if isinstance(given, str) else set(map(str, given or ("object", "any")))
    return {"number" if one == "integer" else one for one in types}


def _by_type(branches: list[dict[str, Any]]) -> bool:
    seen: set[str] = set()
    for branch in branches:
        types = _types(branch)
        if seen & types:
            return False
        seen |= types
    return True


def _by_constant(objects: list[dict[str, Any]]) -> bool:
    if len(objects) < 2:
        return True
    constants = [_constants(one) for one in objects]
    return any(
        _disjoint([mine[name] for mine in constants])
        for name in constants[0]
        if all(name in mine for mine in constants)
    )


def _constants(schema: dict[str, Any]) -> dict[str, list[str]]:
    """The values of required properties that can have only some."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    found: dict[str, list[str]] = {}
    for name in required:
        of = properties.get(name) if isinstance(name, str) else None
        if isinstance(of, dict) and "const" in of:
            found[name] = [json.dumps(of["const"], sort_keys=True)]
        elif isinstance(of, dict) and isinstance(of.get("enum"), list):
            found[name] = [json.dumps(value, sort_keys=True) for value in of["enum"]]
    return found


def _disjoint(several: list[list[str]]) -> bool:
    values = [value for mine in several for value in set(mine)]
    return len(values) == len(set(values))
