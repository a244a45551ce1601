"""Objects that are closed, by examples and against JSON Schema's own word for it."""

from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.grammar_matcher import Bound
from workers.json_schema import enforceable
from workers.output.constraint import answer
from workers.protocol import JsonSchema

A = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
OBJECT = {"type": "object"}
DEFS = {"$defs": {"A": A, "B": B}}
REF_A, REF_B = {"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}

CASES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (A, ['{"a": 1}'], ['{"a": 1, "x": 1}', "{}"]),
    ({"type": "object", "properties": {}}, ["{}"], ['{"x": 1}']),
    (OBJECT, ["{}", '{"x": 1}'], []),
    ({}, ["{}", '{"x": 1}', "1"], []),
    ({**A, "additionalProperties": True}, ['{"a": 1, "x": 1}'], ["{}"]),
    (
        {**A, "additionalProperties": {"type": "null"}},
        ['{"a": 1, "x": null}'],
        ['{"a": 1, "x": 1}'],
    ),
    ({**A, "unevaluatedProperties": True}, ['{"a": 1, "x": 1}'], []),
    ({**A, "unevaluatedProperties": False}, ['{"a": 1}'], ['{"a": 1, "x": 1}']),
    ({"type": "object", "unevaluatedProperties": False}, ["{}"], ['{"x": 1}']),
    (
        {**A, "required": ["a", "z"]},
        ['{"a": 1, "z": [2]}'],
        ['{"a": 1}', '{"a": 1, "z": 1, "x": 1}'],
    ),
    (
        {**A, "patternProperties": {"^p": {"type": "null"}}},
        ['{"a": 1, "p1": null}'],
        ['{"a": 1, "p1": 1}', '{"a": 1, "x": 1}'],
    ),
    ({**A, "minProperties": 3}, ['{"a": 1, "x": 1, "y": 2}'], []),
    ({"type": "object", "patternProperties": {"^p": {"type": "null"}}}, ['{"x": 1}'], ['{"p": 1}']),
    ({"allOf": [A, B]}, ['{"a": 1, "b": 2}'], ['{"a": 1, "b": 2, "x": 1}', '{"a": 1}']),
    ({"allOf": [REF_A, B], **DEFS}, ['{"a": 1, "b": 2}'], ['{"a": 1, "b": 2, "x": 1}', '{"a": 1}']),
    ({"allOf": [REF_A], **DEFS}, ['{"a": 1}'], ['{"a": 1, "x": 1}']),
    ({"allOf": [A, {**B, "additionalProperties": True}]}, ['{"a": 1, "b": 1, "x": 1}'], []),
    ({**REF_A, "description": "x", **DEFS}, ['{"a": 1}'], ['{"a": 1, "x": 1}']),
    (
        {**REF_A, "properties": {"z": {"type": "null"}}, **DEFS},
        ['{"z": null, "a": 1}', '{"a": 1}'],
        ['{"a": 1, "x": 1}', '{"z": null}'],
    ),
    ({"properties": {"k": A}}, ['{"k": {"a": 1}}'], ['{"k": {"a": 1, "x": 1}}']),
    ({"items": REF_A, **DEFS}, ['[{"a": 1}]'], ['[{"a": 1, "x": 1}]']),
    ({"additionalProperties": A}, ['{"x": {"a": 1}}'], ['{"x": {"a": 1, "y": 1}}']),
    ({"anyOf": [A, B]}, ['{"a": 1}', '{"b": 1}'], ['{"a": 1, "b": 1}', '{"a": 1, "x": 1}']),
    (
        {"anyOf": [REF_A, REF_B, {"type": "null"}], **DEFS},
        ['{"a": 1}', '{"b": 1}', "null"],
        ['{"a": 1, "b": 1}', '{"b": 1, "x": 1}'],
    ),
    (
        {"properties": {"k": {"type": "null"}}, "anyOf": [A, REF_B], **DEFS},
        ['{"k": null, "b": 1}', '{"b": 1}'],
        ['{"k": null, "a": 1, "b": 1}', '{"k": null, "b": 1, "x": 1}'],
    ),
    (
        {
            **A,
            "properties": {"a": {}, "b": {}},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        ['{"a": 1}', '{"a": 1, "b": 1}'],
        ['{"a": 1, "x": 1}'],
    ),
    (
        {"allOf": [{"anyOf": [A, B]}, {"properties": {"c": {}}}]},
        ['{"a": 1, "c": 1}', '{"b": 1}'],
        ['{"a": 1, "c": 1, "x": 1}', '{"c": 1}'],
    ),
    (
        {**A, "if": {"properties": {"a": {"const": 1}}}, "then": {"properties": {"t": {}}}},
        ['{"a": 1, "t": 1}'],
        ['{"a": 1, "x": 1}'],
    ),
    ({"enum": [{"x": 1}], "properties": {"a": {}}}, ['{"x": 1}'], ['{"a": 1}']),
    (
        {**A, "properties": {"a": {"$ref": "#"}}, "required": []},
        ['{"a": {"a": {}}}'],
        ['{"a": {"x": 1}}'],
    ),
]


@pytest.mark.parametrize(("schema", "good", "bad"), CASES)
def test_closed_objects(schema: dict[str, Any], good: list[str], bad: list[str]) -> None:
    grammar = answer(JsonSchema(schema, strict=False))
    bound = Bound.over(())
    for text in good:
        assert bound.judge(grammar, text) == "whole", text
    for text in bad:
        assert bound.judge(grammar, text) != "whole", text


# ------------------------------------------------------------------ laws

NAMES = ["a", "b", "c", "d"]
VALUES = st.sampled_from([1, "s", None])
LEAVES = st.sampled_from([{}, {"type": "integer"}, {"type": "null"}, {"const": "s"}])
REFS = st.sampled_from([{"$ref": "#/$defs/P"}, {"$ref": "#/$defs/Q"}])


@st.composite
def lists(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    """An object that lists properties, mostly."""
    names = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: draw(values) for name in names},
    }
    if draw(st.booleans()):
        schema["required"] = draw(st.lists(st.sampled_from(NAMES), max_size=1))
    if draw(st.integers(0, 5)) == 0:
        schema["additionalProperties"] = draw(st.sampled_from([True, False, {"type": "null"}]))
    return schema


def composed(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    part = lists(values) | REFS
    both = st.fixed_dictionaries({"allOf": st.lists(part, min_size=1, max_size=2)})
    either = st.fixed_dictionaries({"anyOf": st.lists(part, min_size=1, max_size=2)})
    joined = st.tuples(lists(values), both | either | REFS).map(lambda two: {**two[0], **two[1]})
    return part | both | either | joined


VALUE = composed(LEAVES | composed(LEAVES))
SCHEMAS = st.builds(
    lambda schema, p, q: {**schema, "$defs": {"P": p, "Q": q}},
    VALUE,
    lists(LEAVES),
    lists(LEAVES),
)
INSTANCES = st.recursive(
    VALUES, lambda inner: st.dictionaries(st.sampled_from([*NAMES, "x"]), inner, max_size=4)
)


def valid(schema: dict[str, Any], value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def unevaluated(schema: Any) -> Any:
    """The same schema, closed in JSON Schema's words, which llguidance does not know.

    Each object as a whole: ``unevaluatedProperties`` sees through allOf and references, and through
    anyOf, of which one branch is taken here.
    """
    if "anyOf" in schema:
        every = schema.get("allOf", [])
        ways = [{**schema, "allOf": [*every, branch]} for branch in schema["anyOf"]]
        for way in ways:
            del way["anyOf"]
        return {"anyOf": [unevaluated(way) for way in ways]}
    closed = {"allOf": [_open(schema)], "unevaluatedProperties": False}
    return closed if _lists(schema) else _open(schema)


def _open(schema: Any) -> Any:
    out = dict(schema)
    if "properties" in out:
        values = {name: unevaluated(value) for name, value in out["properties"].items()}
        # A name in ``required`` is possible, unless the schema itself says that it is not.
        more = () if "additionalProperties" in out else out.get("required", ())
        out["properties"] = dict.fromkeys(more, True) | values
    if "allOf" in out:
        out["allOf"] = [_open(branch) for branch in out["allOf"]]
    if "$defs" in out:
        out["$defs"] = {name: _open(value) for name, value in out["$defs"].items()}
    return out


def _lists(schema: Any) -> bool:
    parts = schema.get("allOf", ())
    return "properties" in schema or "$ref" in schema or any(map(_lists, parts))


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(SCHEMAS, st.lists(INSTANCES, min_size=5, max_size=15))
def test_closing_only_takes_names_away(schema: dict[str, Any], values: list[Any]) -> None:
    written = enforceable(schema, strict=True)
    model = {**unevaluated(schema), "$defs": _open(schema)["$defs"]}
    for value in values:
        if valid(written, value):
            assert valid(schema, value), "it is narrower than the schema"
        if valid(model, value):
            assert valid(written, value), "and no narrower than to close each object as a whole"
