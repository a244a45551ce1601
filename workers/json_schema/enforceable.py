"""From a schema as written to one that llguidance takes. Pure: what it takes is told by a judge.

What is lost depends on ``strict``: a strict schema is enforced whole or refused, with the path of
the keyword that is in the way; of any other one, that keyword is left to the model. Formats that
are not enforced are annotations, and ``uniqueItems`` is left to the model, in both: clients that
write schemas from types can't do without.

The result is at most so much larger than the schema: each part is written at most twice for each
way that leads to it (open, as a part of another object, and closed), within ``MOST``.
"""

from collections.abc import Callable
from typing import Any

from workers.json_schema.apart import told_apart
from workers.json_schema.closing import OPEN, Closing, Wish, closing
from workers.json_schema.keywords import COUNTS, FORMATS, LEAVES, TYPES, UNSUPPORTED, modern
from workers.json_schema.places import Place, References, TooMuch, Unenforceable

MOST = 10_000
"""Schemas written and names added, together: a schema of references might multiply."""
CLOSED = Wish()

Judge = Callable[[dict[str, Any]], str | None]
"""Tells why llguidance can't enforce a schema, or None if it can."""


def enforceable(
    schema: dict[str, Any], *, strict: bool, judge: Judge | None = None
) -> dict[str, Any]:
    """Return what of ``schema`` can be enforced, its objects closed.

    ``judge`` None: what only llguidance knows, such as whether it can read a pattern, is taken for
    good. Raises :class:`Unenforceable` if ``strict``; else there is always something left.
    """
    usual = _Writer(schema, strict, None).written()
    if judge is None or (reason := judge(usual)) is None:
        return usual
    careful = _Writer(schema, strict, judge).written()
    if strict:
        raise Unenforceable((), reason)
    return next((one for one in (careful, _names_alone(schema)) if judge(one) is None), {})


def _names_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """The names of an object, without more than the types of its values."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return {}
    types = {
        name: of["type"] if isinstance(of, dict) and of.get("type") in TYPES else None
        for name, of in properties.items()
    }
    return {
        "type": "object",
        "properties": {name: {"type": one} if one else {} for name, one in types.items()},
        "required": [name for name in required if name in types]
        if isinstance(required, list)
        else [],
        "additionalProperties": False,
    }


class _Writer:
    """Writes one schema anew."""

    def __init__(self, root: dict[str, Any], strict: bool, judge: Judge | None) -> None:
        self._root = Place(root)
        self._strict = strict
        self._judge = judge
        self._references = References(self._root)
        self._left = MOST
        self._defined: dict[tuple[int, Wish], str] = {}
        self._todo: list[tuple[str, Place, Wish]] = []

    def written(self) -> dict[str, Any]:
        out = self._schema(self._root, CLOSED)
        definitions: dict[str, Any] = {}
        while self._todo:
            name, place, wish = self._todo.pop()
            definitions[name] = self._schema(place, wish)
        return {**out, "$defs": definitions} if definitions else out

    def _lose(self, place: Place, keyword: str, reason: str) -> None:
        """Leave a keyword to the model, unless that is not allowed."""
        if self._strict:
            raise Unenforceable((*place.path, keyword), reason)

    def _spend(self, count: int = 1) -> bool:
        """Return whether there is room for so many more."""
        self._left -= count
        return self._left >= 0

    def _schema(self, place: Place, wish: Wish) -> dict[str, Any]:
        if not self._spend():
            self._lose(place, "", "the schema is too large")
            return {}
        place = Place(modern(place.schema), place.path, place.parent)
        closed = self._closing(place, wish)
        out = self._leaves(place)
        for keyword in place.schema:
            if keyword in UNSUPPORTED:
                self._lose(place, keyword, f"'{keyword}' is not supported")
        self._array(place, out)
        self._object(place, out, closed)
        self._combined(place, out, closed)
        return out

    def _closing(self, place: Place, wish: Wish) -> Closing:
        try:
            return closing(place, wish, self._references)
        except TooMuch:
            return Closing()

    def _value(self, place: Place, value: Any, *steps: str, wish: Wish = CLOSED) -> Any:
        """A schema where one is expected."""
        if value is False:
            return False
        inner = place.of(value, *steps)
        if inner is None:
            self._lose(place, ".".join(steps), "it is no schema")
            return {}
        return self._schema(inner, wish)

    # ------------------------------------------------------------------ values that are no objects

    def _leaves(self, place: Place) -> dict[str, Any]:
        schema = place.schema
        out = self._type(place)
        if "const" in schema:
            out["const"] = schema["const"]
        for keyword, value in schema.items():
            if keyword not in LEAVES:
                continue
            if not LEAVES[keyword](value):
                self._lose(place, keyword, "its value makes no sense")
            elif keyword != "format" or value in FORMATS:
                out[keyword] = int(value) if keyword in COUNTS else value
        return out if self._judge is None else self._judged(place, out, self._judge)

    def _judged(self, place: Place, leaves: dict[str, Any], judge: Judge) -> dict[str, Any]:
        """Without the keywords that llguidance can't enforce, alone or together with others."""
        reason = judge(leaves)
        if reason is None:
            return leaves
        kept: dict[str, Any] = {}
        for keyword, value in leaves.items():
            if (reason := judge({**kept, keyword: value})) is None:
                kept[keyword] = value
            else:
                self._lose(place, keyword, reason)
        return kept

    def _type(self, place: Place) -> dict[str, Any]:
        given = place.schema.get("type")
        if given is None:
            return {}
        types = given if isinstance(given, list) else [given]
        known = [one for one in types if isinstance(one, str) and one in TYPES]
        if len(known) < len(types) or not types:
            self._lose(place, "type", "there is no such type")
        if not known:
            return {}
        return {"type": known if isinstance(given, list) else known[0]}

    def _array(self, place: Place, out: dict[str, Any]) -> None:
        schema = place.schema
        if "items" in schema:
            out["items"] = self._value(place, schema["items"], "items")
        if isinstance(first := schema.get("prefixItems"), list):
            out["prefixItems"] = [
                self._value(place, value, "prefixItems", str(at)) for at, value in enumerate(first)
            ]
        elif first is not None:
            self._lose(place, "prefixItems", "it is no list")

    # ------------------------------------------------------------------ objects

    def _object(self, place: Place, out: dict[str, Any], closed: Closing) -> None:
        schema = place.schema
        for keyword in ("properties", "patternProperties"):
            if isinstance(given := schema.get(keyword), dict):
                out[keyword] = {
                    name: self._value(place, value, keyword, name) for name, value in given.items()
                }
            elif given is not None:
                self._lose(place, keyword, "it is no object")
        if "required" in schema:
            self._required(place, out)
        if isinstance(more := schema.get("additionalProperties"), dict | bool):
            out["additionalProperties"] = self._value(place, more, "additionalProperties")
        elif more is not None:
            self._lose(place, "additionalProperties", "it is no schema")
        if "propertyNames" in schema:
            self._property_names(place, out)
        self._unevaluated(place)
        if closed.names is not None and self._spend(len(closed.names)):
            listed = out.get("properties", {})
            out["properties"] = {name: listed.get(name, {}) for name in closed.names}
            out["additionalProperties"] = False
        self._sizes(place, out)
        if self._judge is not None and "patternProperties" in out:
            self._patterns(place, out, self._judge)

    def _required(self, place: Place, out: dict[str, Any]) -> None:
        given = place.schema["required"]
        names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
        if not isinstance(given, list) or len(names) < len(given):
            self._lose(place, "required", "it is no list of names")
        out["required"] = list(dict.fromkeys(names))

    def _property_names(self, place: Place, out: dict[str, Any]) -> None:
        """A list of names is one of properties, as in a mapping whose keys are an enumeration."""
        inner = place.inside("propertyNames")
        target = inner and (self._references.target(inner) or inner)
        names = target.schema.get("enum") if target else None
        if target is not None and target.schema.keys() <= {"type", "title", "description"}:
            return
        if not isinstance(names, list) or {"properties", "patternProperties"} & out.keys():
            self._lose(place, "propertyNames", "'propertyNames' is supported only with an 'enum'")
            return
        value = out.get("additionalProperties", {})
        listed = [name for name in names if isinstance(name, str)]
        if value is not False and self._spend(len(listed)):
            out["properties"] = dict.fromkeys(listed, value)
            out["additionalProperties"] = False

    def _unevaluated(self, place: Place) -> None:
        """False is what closing does, true asks for nothing."""
        if not isinstance(place.schema.get("unevaluatedProperties", True), bool):
            self._lose(place, "unevaluatedProperties", "it is not supported with a schema")

    def _sizes(self, place: Place, out: dict[str, Any]) -> None:
        """The bounds on the number of properties, if llguidance can count them."""
        required, names = set(out.get("required", ())), out.get("properties", {})
        for keyword in ("minProperties", "maxProperties"):
            if keyword not in place.schema:
                continue
            value = place.schema[keyword]
            if not LEAVES["minItems"](value):
                self._lose(place, keyword, "its value makes no sense")
            elif keyword == "minProperties" and value <= len(required):
                continue
            elif required.issuperset(names):
                out[keyword] = int(value)
            elif keyword == "minProperties" or value < len(names) or not _closed(out):
                self._lose(place, keyword, "it is supported only where all properties are required")

    def _patterns(self, place: Place, out: dict[str, Any], judge: Judge) -> None:
        patterns: dict[str, Any] = {pattern: {} for pattern in out["patternProperties"]}
        reason = judge({"type": "object", "patternProperties": patterns})
        if reason is not None:
            self._lose(place, "patternProperties", reason)
            del out["patternProperties"]
            out.pop("additionalProperties", None)

    # ------------------------------------------------------------------ several schemas together

    def _combined(self, place: Place, out: dict[str, Any], closed: Closing) -> None:
        schema = place.schema
        if "$ref" in schema:
            self._reference(place, out, closed.reference)
        every: list[Any] = self._branches(place, "allOf", closed.reference)
        either = [
            {self._alternative(place, keyword): branches}
            for keyword in ("anyOf", "oneOf")
            if (branches := self._branches(place, keyword, closed.alternatives))
        ]
        if len(either) == 1:
            out |= either.pop()
        if every or either:
            out["allOf"] = [*every, *either]

    def _branches(self, place: Place, keyword: str, wish: Wish) -> list[Any]:
        given = place.schema.get(keyword)
        if isinstance(given, list) and given:
            return [
                self._value(place, value, keyword, str(at), wish=wish)
                for at, value in enumerate(given)
            ]
        if given is not None:
            self._lose(place, keyword, "it is no list of schemas")
        return []

    def _alternative(self, place: Place, keyword: str) -> str:
        """``oneOf`` is ``anyOf`` where branches exclude each other, and where it can't be held."""
        if keyword == "anyOf" or not self._strict or told_apart(place, self._references):
            return "anyOf"
        if self._judge is not None and (reason := self._judge({"oneOf": place.schema[keyword]})):
            self._lose(place, keyword, f"its branches can't be told apart ({reason})")
        return keyword

    def _reference(self, place: Place, out: dict[str, Any], wish: Wish) -> None:
        target = self._references.target(place)
        if target is None:
            self._lose(place, "$ref", "it leads to no schema in this document")
            return
        key = (id(target.schema), wish if wish.close else OPEN)
        if key not in self._defined:
            self._defined[key] = f"s{len(self._defined)}"
            self._todo.append((self._defined[key], target, key[1]))
        out["$ref"] = f"#/$defs/{self._defined[key]}"


def _closed(schema: dict[str, Any]) -> bool:
    return schema.get("additionalProperties") is False and "patternProperties" not in schema
