"""Answers that must be JSON: response_format, json_schema, grammar, and what can't be enforced."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import openai
import pydantic
import pytest

from tests.contract.test_openai_client import QUESTION, extras
from tests.support.dialects import CHAT, DIALECTS, Dialect
from tests.support.server import ALIAS, ForgeServer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "height": {"type": "number", "minimum": 0, "maximum": 3},
        "colours": {
            "type": "array",
            "items": {"enum": ["red", "green", "blue"]},
            "minItems": 1,
            "maxItems": 3,
        },
        "home": {"$ref": "#/$defs/place"},
        "note": {"anyOf": [{"type": "null"}, {"const": "none"}]},
    },
    "$defs": {
        "place": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 10},
                "zip": {"pattern": "^[0-9]{5}$", "type": "string"},
            },
            "required": ["city", "zip"],
            "additionalProperties": False,
        }
    },
    "required": ["name", "age", "height", "colours", "home", "note"],
    "additionalProperties": False,
}


def schema_format(schema: Any, **more: Any) -> dict[str, Any]:
    json_schema = {"name": "answer", "schema": schema, **more}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}


@pytest.fixture(scope="module")
def client(server: ForgeServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strict", [True, None])
def test_a_schema_is_kept_to(http: httpx.Client, seed: int, strict: bool | None) -> None:
    params: Any = {"seed": seed, "temperature": 1.3, "max_tokens": 300}
    answer = CHAT.ask(http, "Who is it?", **schema_format(PERSON, strict=strict), **params)
    assert answer.reason == "stop", "a person fits"
    jsonschema.validate(json.loads(answer.text), PERSON)


def test_a_stream_of_a_schema(http: httpx.Client) -> None:
    params: Any = {"seed": 3, "max_tokens": 300, **schema_format(PERSON)}
    whole = CHAT.ask(http, **params).text
    assert CHAT.joined(CHAT.stream(http, **params)) == whole


@pytest.mark.parametrize("seed", range(4))
def test_json_object(http: httpx.Client, seed: int) -> None:
    question = "Write JSON about Ann, who is 30."
    answer = CHAT.ask(
        http, question, response_format={"type": "json_object"}, seed=seed, max_tokens=120
    )
    if answer.reason == "stop":
        assert isinstance(json.loads(answer.text), dict)
    else:
        assert answer.text.startswith("{")


def test_json_object_with_a_schema(http: httpx.Client) -> None:
    format_ = {"type": "json_object", "schema": PERSON}
    answer = CHAT.ask(http, response_format=format_, max_tokens=300)
    jsonschema.validate(json.loads(answer.text), PERSON)


class Step(pydantic.BaseModel):
    explanation: str = pydantic.Field(max_length=20)
    output: int


class Solution(pydantic.BaseModel):
    steps: list[Step] = pydantic.Field(max_length=3)
    answer: int


def test_the_clients_parse(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=ALIAS, messages=QUESTION, response_format=Solution, max_tokens=300, seed=1
    )
    assert list(extras(answer)) == []
    assert isinstance(answer.choices[0].message.parsed, Solution)


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_short_forms_everywhere(http: httpx.Client, dialect: Dialect) -> None:
    answer = dialect.ask(http, json_schema=PERSON, max_tokens=300)
    jsonschema.validate(json.loads(answer.text), PERSON)
    gbnf = 'root ::= ("yes" | "no") "!"\n'
    assert dialect.ask(http, grammar=gbnf, max_tokens=10).text in ("yes!", "no!")
    lark = "start: /[0-9]{3}/ END\nEND: /-end/"
    text = dialect.ask(http, grammar=lark, max_tokens=20).text
    assert text[:3].isdigit()
    assert text[3:] == "-end"


def test_a_constraint_wins_over_ignore_eos(http: httpx.Client) -> None:
    answer = CHAT.ask(http, json_schema={"enum": [1, 2]}, ignore_eos=True)
    assert (answer.text in "12", answer.reason) == (True, "stop")


def test_a_limit_cuts_it_off(http: httpx.Client) -> None:
    answer = CHAT.ask(http, json_schema=PERSON, max_tokens=3)
    assert answer.reason == "length"
    assert answer.usage["completion_tokens"] == 3


def test_stop_strings_hold_in_json(http: httpx.Client) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
    answer = CHAT.ask(http, json_schema=schema, stop=[", "])
    assert (answer.reason, answer.text.startswith("[")) == ("stop", True)
    assert "," not in answer.text


def test_several_choices(http: httpx.Client) -> None:
    response = http.post(CHAT.path, json=CHAT.body(n=3, seed=2, json_schema=PERSON, max_tokens=300))
    texts = [choice["message"]["content"] for choice in response.json()["choices"]]
    for text in texts:
        jsonschema.validate(json.loads(text), PERSON)
    assert len(set(texts)) == 3


def test_not_strict_enforces_what_it_can(http: httpx.Client) -> None:
    schema = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}
    params = schema_format({**schema, "contains": {"const": 1}}, strict=False)
    jsonschema.validate(json.loads(CHAT.ask(http, **params).text), schema)


@pytest.mark.parametrize("schema", [{"$ref": "#/x"}, {"type": "string", "pattern": "^(?!x)"}])
def test_the_hint_in_a_refusal_helps(http: httpx.Client, schema: dict[str, Any]) -> None:
    inside = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    params: Any = schema_format(inside, strict=True)
    failure = CHAT.refusal(http.post(CHAT.path, json=CHAT.body(max_tokens=5, **params)))
    assert "'strict': false" in failure.message
    assert (failure.param or "").startswith("response_format.json_schema.schema.properties.a.")
    answer = CHAT.ask(http, max_tokens=5, **schema_format(inside, strict=False))
    assert answer.text.startswith('{"a": ')


def test_objects_that_list_properties_are_closed(http: httpx.Client) -> None:
    """However much a model would like to add, as a small one does."""
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    texts = [
        CHAT.ask(http, "Write JSON.", seed=seed, temperature=1.5, max_tokens=60, **asked).text
        for seed in range(5)
        for asked in (schema_format(schema), {"json_schema": schema})
    ]
    assert {text.replace("true", "false") for text in texts} == {'{"a": false}'}


def deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


REFUSED_SCHEMAS: dict[str, Any] = {
    "unsupported keyword": {"type": "array", "contains": {"const": 1}},
    "not": {"not": {"type": "string"}},
    "unknown type": {"type": "strin"},
    "dangling reference": {"$ref": "#/$defs/x"},
    "reference to elsewhere": {"$ref": "https://example.com/schema"},
    "nothing satisfies it": {"type": "integer", "minimum": 5, "maximum": 1},
    "look-around": {"type": "string", "pattern": "(?=a)b"},
    "overlapping oneOf": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "endless reference": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    "deep": deep(100),
    "huge": {"enum": list(range(30_000))},
    "wide": {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(3000)}},
    "many alternatives": {
        "anyOf": [{"type": "object", "properties": {"a": {"minimum": i}}} for i in range(2000)]
    },
    "not an object": [],
}


@pytest.mark.parametrize("schema", REFUSED_SCHEMAS.values(), ids=REFUSED_SCHEMAS)
def test_schemas_that_are_refused(http: httpx.Client, schema: Any) -> None:
    for params in ({"json_schema": schema}, schema_format(schema, strict=True)):
        (field,) = params
        failure = CHAT.refusal(http.post(CHAT.path, json=CHAT.body(max_tokens=5, **params)))
        assert failure.status == 400, failure.message
        assert failure.param is not None
        assert failure.param.split(".")[0] == field


REFUSED_GRAMMARS = {
    "empty": "",
    "nonsense": "hello",
    "open": "root ::= (",
    "unknown rule": "root ::= x",
    "nested GBNF": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000,
    "nested Lark": "start: " + "(" * 20_000 + '"a"' + ")" * 20_000,
    "ambiguous": 'start: s\ns: s s | "a" | "b" | s "c"',
    "doubling": "start: x0\n"
    + "".join(f"x{i}: x{i + 1} x{i + 1}\n" for i in range(60))
    + 'x60: "a"',
    "slow to read": "\n" * 60_000 + "x",
    "long": 'root ::= "' + "a" * 70_000 + '"',
}


@pytest.mark.parametrize("grammar", REFUSED_GRAMMARS.values(), ids=REFUSED_GRAMMARS)
def test_grammars_that_are_refused(http: httpx.Client, grammar: str) -> None:
    failure = CHAT.refusal(http.post(CHAT.path, json=CHAT.body(grammar=grammar, max_tokens=5)))
    assert (failure.status, failure.param) == (400, "grammar"), failure.message


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"response_format": 5}, "response_format"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": 5}}},
            "response_format.json_schema.name",
        ),
        ({**schema_format({}), "grammar": 'root ::= "a"'}, "grammar"),
        ({"json_schema": {}, "grammar": 'root ::= "a"'}, "grammar"),
        ({"json_schema": "{}"}, "json_schema"),
        ({"grammar": 5}, "grammar"),
    ],
)
def test_bad_formats(front: httpx.Client, params: dict[str, Any], param: str) -> None:
    failure = CHAT.refusal(front.post(CHAT.path, json=CHAT.body(**params)))
    assert (failure.status, failure.param) == (400, param), failure.message


def test_no_token_is_left(http: httpx.Client) -> None:
    """The neighbours of a request that can't go on do."""
    failure = CHAT.refusal(
        http.post(CHAT.path, json=CHAT.body(grammar='root ::= "a" [^\\x00-\\U0010FFFF]'))
    )
    assert (failure.status, failure.code) == (400, "invalid_constraint")
