"""The objects that take no other names than those of their schema. Pure.

JSON Schema leaves an object open unless it says otherwise, and few schemas do: a small model then
invents names until its tokens are used up. Here a schema that lists ``properties`` and says nothing
of others means those alone. What applies to one object in several places (``allOf``, ``$ref``,
``anyOf`` ...) is closed as a whole: ``{"allOf": [A, B]}`` takes the names of A and of B.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from workers.json_schema.places import Place, References

ALTERNATIVES = ("anyOf", "oneOf")
_CONDITIONS = ("if", "then", "else")
_SAYS = ("additionalProperties", "unevaluatedProperties")


class Wish(NamedTuple):
    """The wish of a schema's surroundings."""

    close: bool = True
    """False: another part of the same object closes it, or none may."""
    listed: bool = False
    """True if properties are listed there, even if there are none here."""
    names: tuple[str, ...] = ()
    """Names that are listed there."""


OPEN = Wish(close=False)


class Closing(NamedTuple):
    """The way to close a schema: itself, or by the parts that it hands its wish on to."""

    names: tuple[str, ...] | None = None
    """The names that it has; None: it isn't closed itself."""
    alternatives: Wish = OPEN
    reference: Wish = OPEN
    """Of ``$ref``, or of the only schema in ``allOf``."""


class _Whole:
    """The names that a schema has, with those of all schemas for the same object."""

    def __init__(self, place: Place, references: References) -> None:
        self.names: dict[str, None] = {}
        self.listed = self.listed_in_alternatives = self.patterned = self.said = False
        self.parts = 0
        for part, certain in _parts(place, references):
            schema = part.schema
            self.parts += certain
            properties = schema.get("properties")
            if isinstance(properties, dict):
                self.names |= dict.fromkeys(properties)
                self.listed |= certain
                self.listed_in_alternatives |= not certain
            required = schema.get("required")
            if isinstance(required, list):
                self.names |= dict.fromkeys(name for name in required if isinstance(name, str))
            self.patterned |= bool(schema.get("patternProperties")) and part is not place
            if certain:
                self.listed |= schema.get("unevaluatedProperties") is False
                self.said |= _says(schema) or "const" in schema or "enum" in schema


def closing(place: Place, wish: Wish, references: References) -> Closing:
    """Decide how the objects of the schema at ``place`` are closed.

    Raises :class:`workers.json_schema.places.TooMuch` if its parts are too many to read.
    """
    if not wish.close or not _may_be_object(place.schema):
        return Closing()
    whole = _Whole(place, references)
    if whole.said or whole.patterned:
        return Closing()
    names = tuple(whole.names | dict.fromkeys(wish.names))
    listed = whole.listed or wish.listed
    if not wish.listed and not wish.names and _hands_on(place.schema):
        return Closing(reference=wish)
    lists = [keyword for keyword in ALTERNATIVES if place.schema.get(keyword)]
    if whole.parts == 1 and len(lists) == 1 and (not listed or whole.listed_in_alternatives):
        own = _own_names(place.schema)
        return Closing(alternatives=Wish(True, listed, (*wish.names, *own)))
    if not listed and not (whole.parts > 1 and whole.listed_in_alternatives):
        return Closing()
    return Closing(names) if _can_close(place.schema, names) else Closing()


def _says(schema: dict[str, Any]) -> bool:
    """Return whether a schema says itself which other names there may be."""
    given = [schema.get(keyword) for keyword in _SAYS]
    return isinstance(given[0], dict | bool) or given[1] is True or isinstance(given[1], dict)


def _may_be_object(schema: dict[str, Any]) -> bool:
    types = schema.get("type", "object")
    return types == "object" or not isinstance(types, str | list) or "object" in types


def _hands_on(schema: dict[str, Any]) -> bool:
    """Return whether the schema is but another one, by reference or as the only one in a list."""
    told = {"$ref", "allOf", "properties", "required", "patternProperties", "minProperties"}
    told |= {*ALTERNATIVES, *_CONDITIONS}
    given = {keyword for keyword in told if schema.get(keyword) is not None}
    every = schema.get("allOf")
    return given == {"$ref"} or (given == {"allOf"} and isinstance(every, list) and len(every) == 1)


def _own_names(schema: dict[str, Any]) -> list[str]:
    properties, required = schema.get("properties"), schema.get("required")
    names = list(properties) if isinstance(properties, dict) else []
    more = required if isinstance(required, list) else []
    return [*names, *(name for name in more if isinstance(name, str))]


def _can_close(schema: dict[str, Any], names: tuple[str, ...]) -> bool:
    """Return False if it would be impossible to fill, as far as can be told."""
    properties, least = schema.get("properties"), schema.get("minProperties")
    known = properties if isinstance(properties, dict) else {}
    # Names that are required may be those that the patterns are for.
    if schema.get("patternProperties"):
        return all(name in known for name in names)
    return not isinstance(least, int) or least <= len(names)


def _parts(place: Place, references: References) -> Iterator[tuple[Place, bool]]:
    """Every schema for the same object, and whether it certainly holds, in the order of writing."""
    seen: set[tuple[int, bool]] = set()
    todo = [(place, True)]
    while todo:
        part, certain = todo.pop()
        if (id(part.schema), certain) in seen or (id(part.schema), True) in seen:
            continue
        seen.add((id(part.schema), certain))
        yield part, certain
        target = references.target(part)
        both = [*([target] if target else []), *part.several("allOf")]
        either = [other for keyword in ALTERNATIVES for other in part.several(keyword)]
        either += [found for word in _CONDITIONS if (found := part.inside(word)) is not None]
        dependent = part.schema.get("dependentSchemas")
        for name in dependent if isinstance(dependent, dict) else ():
            if (found := part.inside("dependentSchemas", name)) is not None:
                either.append(found)
        found_here = [*((other, certain) for other in both), *((other, False) for other in either)]
        references.spend(1 + len(found_here))
        todo += reversed(found_here)
