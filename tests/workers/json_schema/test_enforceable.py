"""Odd schemas: what is left of them, what a strict one is refused for, and real types' schemas."""

import contextlib
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import jsonschema
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from tests.support.grammar_matcher import Bound
from workers.json_schema import Unenforceable, enforceable
from workers.output.constraint import Compiler, ConstraintFailed, answer
from workers.protocol import JsonSchema

COMPILER = Compiler(Bound.over(()).tokenizer)


def judged(schema: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    """Return what is enforced after llguidance was asked; it takes that."""
    judge = COMPILER.judge()
    out = enforceable(schema, strict=strict, judge=judge)
    assert judge(out) is None
    return out


ODD: list[tuple[Any, Any, str]] = [
    ({"$ref": "#/$defs/F"}, {}, "$ref"),
    ({"$ref": "https://example.com/x.json"}, {}, "$ref"),
    ({"$ref": "#/" + "a/" * 1000}, {}, "$ref"),
    ({"$ref": 1, "type": "null"}, {"type": "null"}, "$ref"),
    ({"type": "string", "pattern": "^(?!x)"}, {"type": "string"}, "pattern"),
    ({"type": "string", "pattern": "("}, {"type": "string"}, "pattern"),
    ({"type": "string", "pattern": "^a$", "minLength": 4}, {"type": "string"}, "minLength"),
    ({"type": "strin"}, {}, "type"),
    ({"type": ["string", "strin"]}, {"type": ["string"]}, "type"),
    ({"type": "integer", "minimum": "3"}, {"type": "integer"}, "minimum"),
    ({"type": "integer", "minimum": 5, "maximum": 1}, {"type": "integer", "minimum": 5}, "maximum"),
    ({"type": "number", "multipleOf": 0}, {"type": "number"}, "multipleOf"),
    ({"not": {"type": "null"}}, {}, "not"),
    ({"if": {}, "then": {"type": "null"}}, {}, "if"),
    ({"type": "array", "contains": {"const": 1}}, {"type": "array"}, "contains"),
    ({"propertyNames": {"pattern": "a"}}, {}, "propertyNames"),
    ({"$dynamicRef": "#x"}, {}, "$dynamicRef"),
    ({"properties": []}, {}, "properties"),
    ({"properties": {}, "required": "a"}, None, "required"),
    ({"enum": []}, {}, "enum"),
    ({"anyOf": {}}, {}, "anyOf"),
    ({"items": 5}, {"items": {}}, "items"),
    ({"patternProperties": {"(": {}}}, {}, "patternProperties"),
    ({"patternProperties": {"^a": {}, "^ab": {}}}, {}, "patternProperties"),
    ({"unevaluatedProperties": {"type": "null"}}, {}, "unevaluatedProperties"),
]


@pytest.mark.parametrize(("schema", "left", "path"), ODD, ids=[path for *_, path in ODD])
def test_what_is_left_and_what_a_strict_one_is_refused_for(
    schema: Any, left: Any, path: str
) -> None:
    if left is not None and path != "minLength":
        assert judged(schema, strict=False) == left
    values = {"a": schema, "b": {"const": 1}}
    inside = {"type": "object", "properties": values, "required": ["a"]}
    found = judged(inside, strict=False)
    assert list(found["properties"]) == ["a", "b"]
    assert found["properties"]["b"] == {"const": 1}, "the rest stays"
    for given_, before in ((schema, ""), (inside, "properties.a.")):
        with pytest.raises(Unenforceable) as refused:
            judged(given_, strict=True)
        assert refused.value.path in (before + path, before + "pattern")
        assert str(refused.value)


SAME: list[tuple[Any, Any]] = [
    ({"type": "object", "required": None}, {"type": "object"}),
    ({"type": "string", "minLength": None, "format": None}, {"type": "string"}),
    ({"type": "string", "format": "password"}, {"type": "string"}),
    ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
    ({"type": "array", "uniqueItems": True}, {"type": "array"}),
    ({"const": None}, {"const": None}),
    ({"title": "x", "description": "y", "default": 1, "examples": [], "x-y": 1}, {}),
    ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
    ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
    (
        {"items": [{"const": 1}], "additionalItems": False},
        {"prefixItems": [{"const": 1}], "items": False},
    ),
    ({"minItems": 2.0}, {"minItems": 2}),
    (
        {"$id": "http://a/b", "$ref": "http://a/b#/$defs/x", "$defs": {"x": {"type": "null"}}},
        {"$ref": "#/$defs/s0", "$defs": {"s0": {"type": "null"}}},
    ),
    (
        {"$ref": "#y", "definitions": {"x": {"$anchor": "y", "type": "null"}}},
        {"$ref": "#/$defs/s0", "$defs": {"s0": {"type": "null"}}},
    ),
    (
        {"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}},
        {"$ref": "#/$defs/s0", "$defs": {"s0": {"type": "null"}}},
    ),
    (
        {"items": {"$ref": "#/$defs/F", "$defs": {"F": {"type": "null"}}}},
        {"items": {"$ref": "#/$defs/s0"}, "$defs": {"s0": {"type": "null"}}},
    ),
    (
        {"items": {"$defs": {"F": {"type": "null"}}, "items": {"$ref": "#/$defs/F"}}},
        {"items": {"items": {"$ref": "#/$defs/s0"}}, "$defs": {"s0": {"type": "null"}}},
    ),
    (
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    ),
    ({"propertyNames": {"type": "string"}}, {}),
    (
        {"propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "null"}},
        {"properties": {"a": {"type": "null"}}, "additionalProperties": False},
    ),
    ({"minProperties": 1, "required": ["a"]}, {"required": ["a"]}),
]


@pytest.mark.parametrize(("schema", "same"), SAME)
def test_what_strict_schemas_may_hold(schema: Any, same: Any) -> None:
    for strict in (True, False):
        assert judged(schema, strict=strict) == same
        assert enforceable(schema, strict=strict) == same


CAT: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
    "required": ["kind"],
}
DOG: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["dog", "wolf"]}, "name": {"type": "string"}},
    "required": ["kind"],
}


@pytest.mark.parametrize(
    ("branches", "more", "apart"),
    [
        ([CAT, DOG], {}, True),
        ([{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}, {"type": "null"}], {}, True),
        ([{"$ref": "#/$defs/cat"}, {"type": "object"}], {}, False),
        ([CAT, {**DOG, "required": []}], {"discriminator": {"propertyName": "kind"}}, True),
        ([{"$ref": "#/$defs/cat"}, CAT], {}, False),
        ([{"type": "integer"}, {"type": "number"}], {}, False),
        ([{"type": "integer"}, {"$ref": "#/$defs/nothing"}], {}, False),
    ],
)
def test_one_of(branches: list[Any], more: dict[str, Any], apart: bool) -> None:
    schema = {"oneOf": branches, "$defs": {"cat": CAT, "dog": DOG}, **more}
    assert "anyOf" in judged(schema, strict=False)
    if apart:
        assert "anyOf" in judged(schema, strict=True)
    else:
        with pytest.raises(Unenforceable) as refused:
            judged(schema, strict=True)
        assert refused.value.path.split(".")[0] == "oneOf"


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["string", "object", "array", "integer", "#", "#/$defs/a", "^a", "a", "("]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "enum",
                    "const",
                    "properties",
                    "patternProperties",
                    "additionalProperties",
                    "required",
                    "items",
                    "prefixItems",
                    "minItems",
                    "maxItems",
                    "minProperties",
                    "maxProperties",
                    "minimum",
                    "maximum",
                    "multipleOf",
                    "minLength",
                    "maxLength",
                    "pattern",
                    "format",
                    "anyOf",
                    "oneOf",
                    "allOf",
                    "$ref",
                    "$defs",
                    "not",
                    "if",
                    "then",
                    "contains",
                    "unevaluatedProperties",
                    "propertyNames",
                    "a",
                    "uniqueItems",
                    "discriminator",
                    "x-guidance",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["properties", "items", "anyOf", "$defs", "type", "allOf", "$ref"]), JUNK
    )
)
def test_no_schema_is_too_odd(schema: dict[str, Any]) -> None:
    """One that is not strict ends in a guide, and no other error comes of one that is."""
    judged(schema, strict=False)
    with contextlib.suppress(Unenforceable):
        judged(schema, strict=True)


T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str


@dataclasses.dataclass
class Data:
    a: int


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]
    number: int


class Node(pydantic.BaseModel):
    value: int
    children: "list[Node]" = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


TYPES: list[tuple[Any, str]] = [
    (set[str], '["a"]'),
    (frozenset[int], "[1]"),
    (bytes, '"x"'),
    (pathlib.Path, '"/tmp"'),
    (pydantic.SecretStr, '"x"'),
    (decimal.Decimal, "1.5"),
    (datetime.datetime, '"2024-01-01T10:00:00Z"'),
    (datetime.date, '"2024-01-01"'),
    (datetime.time, '"10:00:00Z"'),
    (datetime.timedelta, '"PT1H"'),
    (uuid.UUID, '"12345678-1234-5678-1234-567812345678"'),
    (pydantic.AnyUrl, '"http://a.b/c"'),
    (Colour, '"red"'),
    (Literal["a", 1], '"a"'),
    (str | None, "null"),
    (int | str, "1"),
    (list[list[int]], "[[1]]"),
    (dict[str, int], '{"a": 1}'),
    (dict[Colour, int], '{"blue": 1}'),
    (tuple[int, str], '[1, "a"]'),
    (tuple[int, ...], "[1, 2]"),
    (Point, "[1, 2]"),
    (Movie, '{"title": "x"}'),
    (Data, '{"a": 1}'),
    (Page[Page[int]], '{"items": [{"items": [1], "number": 1}], "number": 2}'),
    (Node, '{"value": 1, "children": [{"value": 2, "children": []}]}'),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], '{"kind": "cat", "lives": 9}'),
    (Cat | Dog, '{"kind": "dog", "name": "x"}'),
    (Annotated[str, pydantic.Field(min_length=2, max_length=3)], '"ab"'),
    (Annotated[str, pydantic.StringConstraints(pattern="^a+$")], '"aa"'),
    (Annotated[int, pydantic.Field(gt=0, le=5)], "5"),
    (Annotated[float, pydantic.Field(ge=0.5, multiple_of=0.5)], "1.5"),
    (Annotated[list[int], pydantic.Field(min_length=1, max_length=2)], "[1]"),
    (Annotated[set[int], pydantic.Field(min_length=1)], "[1]"),
    (Any, '{"x": [1]}'),
    (bool, "true"),
    (complex, '"1+2j"'),
    (pydantic.Json[list[int]], '"[1]"'),
]


@pytest.mark.parametrize(("type_", "good"), TYPES, ids=[str(type_) for type_, _ in TYPES])
def test_types_as_programs_declare_them(type_: Any, good: str) -> None:
    """The official client calls all of them strict."""
    model = pydantic.create_model("Answer", value=(type_, ...))
    schema = model.model_json_schema()
    grammar = answer(JsonSchema(schema))
    COMPILER.compile(grammar, probe=False)
    bound = Bound.over(())
    assert bound.judge(grammar, f'{{"value": {good}}}') == "whole"
    assert bound.judge(grammar, f'{{"value": {good}, "more": 1}}').startswith("refused")
    jsonschema.validate(json.loads(f'{{"value": {good}}}'), schema)


def test_a_refusal_is_the_compilers_too() -> None:
    with pytest.raises(ConstraintFailed):
        COMPILER.compile(answer(JsonSchema({"type": "string", "pattern": "("})), probe=False)


def chain(size: int, *, twice: bool) -> dict[str, Any]:
    links = [{"$ref": f"#/$defs/x{at + 1}"} for at in range(size)]
    return {
        "anyOf": [{"$ref": f"#/$defs/x{at}"} for at in range(size)],
        "$defs": {
            f"x{at}": {"allOf": [link] * (1 + twice), "properties": {f"p{at}": {}}}
            for at, link in enumerate(links)
        },
    }


HOSTILE: list[dict[str, Any]] = [
    chain(1000, twice=False),
    chain(1000, twice=True),
    {"$ref": "#"},
    {"allOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"a": {"$ref": "#"}}},
    {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    {
        "properties": {
            f"p{at}": {"allOf": [{"$ref": "#/$defs/X"}], "required": ["q"]} for at in range(1000)
        },
        "$defs": {"X": {"properties": {f"y{at}": {} for at in range(2000)}}},
    },
    {
        "properties": {f"p{at}": {"$ref": "#/$defs/X"} for at in range(1000)},
        "$defs": {"X": {"anyOf": [{"$ref": f"#/$defs/Y{at}"} for at in range(1000)]}}
        | {f"Y{at}": {"properties": {"a": {}}} for at in range(1000)},
    },
]


@pytest.mark.parametrize("schema", HOSTILE)
def test_the_result_is_bounded(schema: dict[str, Any]) -> None:
    assert len(json.dumps(enforceable(schema, strict=False))) < 50 * 10_000
