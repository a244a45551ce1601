"""JSON schemas as people write them, by hypothesis: nested, with references and bounds."""

from typing import Any

from hypothesis import strategies as st

NAMES = st.sampled_from(
    ["name", "age", "city", "tags", "ok", "größe", "a b", 'quo"te', "x\\y", "n"]
)
VALUES = st.sampled_from([None, True, 0, -7, 2.5, "", "red", 'quo"te', "ü", "line\nbreak", [], [1]])
WORDS = st.sampled_from(["red", "green", "blue", "very long value", "ü", 'quo"te', "1"])
PATTERNS = ["^[a-z]{1,5}$", "^[0-9]+$", "^(yes|no)$", "[A-Z]", "^a.*b$", "^[^0-9]*$"]
FORMATS = ["date", "date-time", "time", "email", "uuid", "ipv4", "ipv6", "hostname", "uri"]


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    kind = draw(st.sampled_from(["plain", "length", "length", "pattern", "format"]))
    if kind == "length":
        low = draw(st.integers(0, 6))
        schema |= {"minLength": low, "maxLength": low + draw(st.integers(0, 6))}
    elif kind == "pattern":
        schema["pattern"] = draw(st.sampled_from(PATTERNS))
    elif kind == "format":
        schema["format"] = draw(st.sampled_from(FORMATS))
    return schema


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    integer = draw(st.booleans())
    schema: dict[str, Any] = {"type": "integer" if integer else "number"}
    low = draw(st.integers(-200, 200))
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        high = low + draw(st.integers(2, 300))
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = high
    if integer and draw(st.integers(0, 4)) == 0:
        schema["multipleOf"] = draw(st.sampled_from([1, 2, 5, 10]))
    return schema


LEAVES = st.one_of(
    strings(),
    numbers(),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["integer", "null"]}]),
    st.lists(WORDS, min_size=1, max_size=4, unique=True).map(lambda values: {"enum": values}),
    st.builds(lambda value: {"const": value}, VALUES),
)


def objects(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        properties = draw(st.dictionaries(NAMES, children, min_size=1, max_size=4))
        required = [name for name in properties if draw(st.booleans())]
        schema = {"type": "object", "properties": properties, "required": required}
        more = draw(st.sampled_from([False, False, {"type": "integer"}]))
        return {**schema, "additionalProperties": more}

    return build()


def arrays(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        low = draw(st.integers(0, 2))
        schema = {"type": "array", "items": draw(children), "minItems": low}
        if draw(st.integers(0, 3)) == 0:
            schema["prefixItems"] = [draw(children)]
        return {**schema, "maxItems": low + draw(st.integers(0, 2))}

    return build()


def _either(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.lists(children, min_size=1, max_size=3).map(lambda several: {"anyOf": several})


NESTED = st.recursive(LEAVES, lambda c: objects(c) | arrays(c) | _either(c), max_leaves=6)


@st.composite
def schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A schema; some with definitions that it refers to, one of which may refer to itself."""
    schema = draw(objects(NESTED) | arrays(NESTED) | NESTED)
    if draw(st.integers(0, 2)):
        return schema
    item = draw(LEAVES)
    if draw(st.booleans()):
        item = {
            "type": "object",
            "properties": {"value": item, "next": {"anyOf": [{"type": "null"}, _REFERENCE]}},
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    return {
        "type": "object",
        "properties": {"first": _REFERENCE, "second": schema},
        "required": ["first", "second"],
        "additionalProperties": False,
        "$defs": {"item": item},
    }


_REFERENCE = {"$ref": "#/$defs/item"}
