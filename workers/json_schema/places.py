"""The places in a schema, and the targets of its references. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

SHOWN = 200
"""Characters of a path that an error tells."""
READ = 10_000
"""Parts of a document that are looked at, some of them again and again."""
STEPS = 128
"""Most steps of a pointer that is followed: schemas are nested less deeply."""
_NOTHING: dict[str, Any] = {}
"""The schema that ``true`` is short for."""


class Unenforceable(Exception):
    """A part of a schema can't be enforced; the text is fit for the client."""

    def __init__(self, path: tuple[str, ...], reason: str) -> None:
        """``path`` leads from the schema's root to the keyword."""
        super().__init__(reason)
        self._path = path

    @property
    def path(self) -> str:
        """The path as errors show it."""
        return ".".join(self._path)[:SHOWN]

    def within(self, *steps: str) -> "Unenforceable":
        """The same, of a schema that stands in a request at the end of ``steps``."""
        return Unenforceable((*steps, *self._path), str(self))


@dataclass(frozen=True, eq=False)
class Place:
    """A schema inside of another one."""

    schema: dict[str, Any]
    path: tuple[str, ...] = ()
    parent: "Place | None" = None

    def inside(self, *steps: str) -> "Place | None":
        """Follow ``steps`` inward; None where no schema is at their end."""
        node: Any = self.schema
        for step in steps:
            if isinstance(node, dict) and step in node:
                node = node[step]
            elif isinstance(node, list) and step.isdecimal() and int(step[:6]) < len(node):
                node = node[int(step[:6])]
            else:
                return None
        return self.of(node, *steps)

    def of(self, node: Any, *steps: str) -> "Place | None":
        """Return the place of ``node``, known to be ``steps`` inward, if it is a schema."""
        if node is True:
            node = _NOTHING
        return Place(node, (*self.path, *steps), self) if isinstance(node, dict) else None

    def several(self, keyword: str) -> "list[Place]":
        """The schemas in the list under ``keyword``."""
        found = self.schema.get(keyword)
        listed = found if isinstance(found, list) else []
        places = [self.of(node, keyword, str(at)) for at, node in enumerate(listed)]
        return [place for place in places if place is not None]


class TooMuch(Exception):
    """Enough of the schema was read."""


class References:
    """The targets of ``$ref`` in one document, and how much of it may still be read."""

    def __init__(self, root: Place) -> None:
        self._left = READ
        self._root = root
        self._named: dict[str, Place] | None = None

    def target(self, place: Place) -> Place | None:
        """The place that the ``$ref`` of ``place`` leads to, if that is in this document.

        A pointer starts at the root. Programs that paste a schema into another one leave its
        ``$defs`` beside the references, which then dangle: those start at the nearest schema around
        them that has what they point to.
        """
        ref = place.schema.get("$ref")
        if not isinstance(ref, str):
            return None
        base, _, fragment = ref.partition("#")
        if base and base != str(self._root.schema.get("$id", "")).partition("#")[0]:
            return self._by_name(ref)
        if fragment and not fragment.startswith("/"):
            return self._by_name(f"#{fragment}")
        if fragment.count("/") > STEPS:
            return None
        steps = [_unescaped(step) for step in fragment.split("/")[1:]]
        around: Place | None = place
        found = self._root.inside(*steps)
        while found is None and around is not None:
            found, around = around.inside(*steps), around.parent
        return found

    def spend(self, parts: int) -> None:
        """Count parts that were read to find out what belongs together. Raises TooMuch."""
        self._left -= parts
        if self._left < 0:
            raise TooMuch

    def _by_name(self, ref: str) -> Place | None:
        if self._named is None:
            self._named = {}
            for found in _all(self._root):
                for name, mark in (("$anchor", "#"), ("$id", "")):
                    if isinstance(given := found.schema.get(name), str):
                        self._named.setdefault(mark + given, found)
        return self._named.get(ref)


def _unescaped(step: str) -> str:
    return unquote(step).replace("~1", "/").replace("~0", "~")


def _all(root: Place) -> Iterator[Place]:
    """Every object of the document."""
    todo = [root]
    while todo:
        place = todo.pop()
        yield place
        for key, value in place.schema.items():
            children = enumerate(value) if isinstance(value, list) else ()
            if isinstance(value, dict):
                todo.append(Place(value, (*place.path, key), place))
            todo += [
                Place(child, (*place.path, key, str(at)), place)
                for at, child in children
                if isinstance(child, dict)
            ]
