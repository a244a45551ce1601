"""The policy for fields that Forge does not serve: one table for code, documentation and OpenAPI.

A field is served, or one of:

- *mapped*: another program's name for what Forge serves (:mod:`gateway.api.other_names`);
- *harmless*: it asks for nothing here, and is ignored silently;
- *told*: it is ignored, and named in the header ``X-Ignored-Parameters``, unless its value asks for
  nothing; so is every field that the table does not know;
- *refused*: it would change the answer in a way that can't be honoured: a 400 that names it.

``--unknown-parameters refuse`` makes a 400 of all that would be told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel

from gateway.api.field_table import ROWS, Below, Row
from gateway.conversation import MediaBlock
from gateway.core.errors import UnknownParameter, UnsupportedParameter

HEADER = "X-Ignored-Parameters"
MAX_NAMES = 20
"""Most names in the header."""
MAX_HEADER = 1024
"""Most bytes of the header."""
MAX_NAME = 128
"""Most bytes of one name there."""
MORE = "..."
"""Stands for the rest: of a name, or of the names."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rows of the table about one place, by the field's name."""

    harmless: frozenset[str]
    told: Mapping[str, tuple[Any, ...]]
    refused: Mapping[str, tuple[Any, ...]]
    """With the values that ask for nothing; null always does."""
    mapped: frozenset[str]


@cache
def policy(place: str) -> Policy:
    """Return what holds at ``place``: a dialect's body, or an object inside one."""
    found = rows(place)
    return Policy(
        harmless=frozenset(row.name for row in found if row.kind == "harmless"),
        told={row.name: row.neutral for row in found if row.kind == "told"},
        refused={row.name: row.neutral for row in found if row.kind == "refused"},
        mapped=frozenset(row.name for row in found if row.kind == "mapped"),
    )


def rows(place: str) -> list[Row]:
    """Return the rows of the table that hold at a place."""
    return [row for row in ROWS if place in row.places or "anywhere" in row.places]


def known_fields(type_: type[BaseModel]) -> frozenset[str]:
    """Return the names of a type's fields, as clients write them."""
    return frozenset(each.alias or name for name, each in type_.model_fields.items())


@cache
def fields(type_: type[BaseModel]) -> tuple[frozenset[str], str]:
    """Return the names of a body's fields, and its place in the table."""
    return known_fields(type_) - {"others"}, str(getattr(type_, "place", ""))


def asks_for_nothing(value: Any, neutral: Iterable[Any]) -> bool:
    """Return whether a value is null or one of ``neutral``; true is not 1."""
    return value is None or any(_is(value, each) for each in neutral)


def _is(value: Any, neutral: Any) -> bool:
    if isinstance(neutral, Below):
        return type(value) in (int, float) and bool(value < neutral.bound)
    return type(value) is type(neutral) and bool(value == neutral)


class IgnoredFields:
    """The fields of one request that were ignored: how many, and the first few by their paths."""

    __slots__ = ("_found", "count")

    def __init__(self) -> None:
        self.count = 0
        self._found: list[tuple[Any, str]] = []
        """The object that holds it, if its place is not known yet, or None; and name or path."""

    def add(self, name: str, *inside: str | int) -> None:
        """Add a field, ``inside`` being the path of the object that holds it."""
        self.count += 1
        if len(self._found) < MAX_NAMES:
            self._found.append((None, ".".join((*map(str, inside), name))))

    def omitted(self, block: MediaBlock) -> None:
        """Add what a text stands for in a conversation."""
        *inside, last = block.path
        self.add(str(last), *inside)

    def add_of(self, owner: dict[str, Any], name: str) -> None:
        """Add a field of an object in the body whose place the caller does not know."""
        if len(self._found) < MAX_NAMES:
            if any(one is owner and known == name for one, known in self._found):
                return  # of another branch of a union
            self._found.append((owner, name))
        self.count += 1

    def header(self, raw: Mapping[str, Any]) -> str:
        """Return their paths in the body ``raw`` as ASCII, within the header's bounds."""
        places = _places([owner for owner, _ in self._found if owner is not None], raw)
        shown: list[str] = []
        size = 0
        for owner, name in self._found:
            text = escaped(name if owner is None else f"{places.get(id(owner), '')}{name}")
            size += len(text) + 2
            if size > MAX_HEADER - len(MORE):
                break
            shown.append(text)
        return ", ".join([*shown, MORE] if len(shown) < self.count else shown)


def _places(owners: list[Any], raw: Mapping[str, Any]) -> dict[int, str]:
    """Return the paths of some objects in a body, by their identities, each with a dot at its end.

    Linear, without recursion, and done when the last is found.
    """
    wanted, found = {id(owner) for owner in owners}, dict[int, str]()
    stack: list[tuple[Any, Any]] = [(raw, None)]
    while stack and len(found) < len(wanted):
        value, way = stack.pop()
        if id(value) in wanted:
            found[id(value)] = _path(way)
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        stack += [(each, (way, key)) for key, each in items if isinstance(each, dict | list)]
    return found


def _path(way: Any) -> str:
    """Return nested pairs of a way and a key as text."""
    keys: list[str] = []
    while way is not None:
        way, key = way
        keys.append(f"{str(key)[:MAX_NAME]}.")
    return "".join(reversed(keys))


def escaped(name: str) -> str:
    """Return a field's path fit for a header: ASCII without controls and commas, and short."""
    if name.isascii() and name.replace("_", "").replace(".", "").isalnum():
        text = name
    else:
        text = "".join(map(_character, name[:MAX_NAME]))
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - len(MORE)] + MORE


def _character(character: str) -> str:
    if " " < character <= "~" and character not in ',"\\':
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


@dataclass(frozen=True, slots=True)
class Sorted:
    """The fields of an object, sorted by what is done with them."""

    kept: dict[str, Any]
    """Fields that are served."""
    mapped: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    """Names of those to be told."""


def sort(value: Mapping[str, Any], known: frozenset[str], place: str, *, strict: bool) -> Sorted:
    """Sort an object's fields, of which ``known`` are served, by the policy of ``place``.

    ``strict``: what would be told is an error. Raises UnsupportedParameter or UnknownParameter
    about the first field that is refused.
    """
    rules, found = policy(place), Sorted({})
    for name, each in value.items():
        if name in known:
            found.kept[name] = each
        elif name in rules.harmless:
            continue
        elif name in rules.mapped:
            found.mapped[name] = each
        elif name in rules.refused:
            if not asks_for_nothing(each, rules.refused[name]):
                raise unsupported(name, place)
        elif strict:
            if name not in rules.told or not asks_for_nothing(each, rules.told[name]):
                raise unknown(name)
        elif not asks_for_nothing(each, rules.told.get(name, ())):
            found.ignored.append(name)
    return found


def unsupported(name: str, place: str) -> UnsupportedParameter:
    """Return the error for a field that is refused, with the table's reason."""
    message = f"'{name}' is not supported by this server: {row(name, place).note}"
    return UnsupportedParameter(message, param=name)


def unknown(path: str) -> UnknownParameter:
    return UnknownParameter(f"unknown parameter '{path}'", param=path)


def row(name: str, place: str) -> Row:
    """Return the row about a field at a place that has one."""
    return next(each for each in rows(place) if each.name == name)
