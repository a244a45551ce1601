"""The description of the whole API, as OpenAPI 3.1: made from the types that validate."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from gateway import __version__
from gateway.api.docstrings import descriptions
from gateway.api.endpoint import EVENTS, JSON, NDJSON, Body, Endpoint
from gateway.api.field_policy import fields, rows
from gateway.api.field_table import Below, Row
from gateway.api.other_names import Names
from gateway.api.urgency import MAX_TIMEOUT_S
from gateway.core.errors import ForgeError, UnsupportedEncoding
from gateway.core.priority import PRIORITIES

VERSION = "3.1.0"
REFS = "#/components/schemas/{model}"

Object = dict[str, Any]

ABOUT = """\
An inference gateway: OpenAI's API, Anthropic's Messages, Ollama's API, llama-server's own API,
`/infer` of the study project that Forge grew from, and what operators want to know.

A field that is `null` or absent has its default. A field that is not described here is ignored
and named in the header `X-Ignored-Parameters`; with `--unknown-parameters refuse` it is a 400.

A body may be compressed, if its `Content-Encoding` says how: `gzip`, `zstd` or `deflate`.
"""

SCHEMES: Object = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
EITHER: list[Object] = [{"bearer": []}, {"header": []}]

PARAMETERS: Object = {
    "X-Priority": {
        "name": "X-Priority",
        "in": "header",
        "description": "The priority, unless the body has one: a number or a name.",
        "schema": {"anyOf": [{"type": "number"}, {"enum": list(PRIORITIES)}]},
    },
    "X-Request-Timeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds that the request may take, unless the body says it.",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S},
    },
    "X-Capture": {
        "name": "X-Capture",
        "in": "header",
        "description": "1: keep the request with its answer for debugging, if the key may.",
        "schema": {"enum": ["1", "0", "true", "false", "on", "off", "yes", "no"]},
    },
}
"""Headers that requests which wait for a slot may have."""


def _header(about: str, schema: Object, *, always: bool = False) -> Object:
    return {"description": about, "required": always, "schema": schema}


HEADERS: Object = {
    "X-Request-Id": _header("The request's name.", {"type": "string"}, always=True),
    "X-Queue-Wait": _header(
        "Seconds that it waited for a slot.", {"type": "number", "minimum": 0}, always=True
    ),
    "X-Priority": _header("The priority that counted.", {"type": "number"}),
    "X-Seed": _header("The seed that was used.", {"type": "integer"}),
    "X-Ignored-Parameters": _header(
        "Fields of the body that were ignored: 20 names and 1 KiB at most, separated by commas, "
        "non-ASCII characters as `\\uXXXX`, and `...` for the rest.",
        {"type": "string"},
    ),
    "X-Capture": _header(
        "The id under which the request and its answer are kept, if they are.", {"type": "string"}
    ),
    "Retry-After": _header(
        "Seconds after which it is worth another try.", {"type": "integer", "minimum": 0}
    ),
    "Accept-Encoding": _header("The encodings of bodies that are read.", {"type": "string"}),
    "X-RateLimit-Limit-Requests": _header("What the key may do in a minute.", {"type": "integer"}),
    "X-RateLimit-Remaining-Requests": _header("What is left of it.", {"type": "integer"}),
    "X-RateLimit-Limit-Tokens": _header("What the key may use in a minute.", {"type": "integer"}),
    "X-RateLimit-Remaining-Tokens": _header("What is left of it.", {"type": "integer"}),
}
ALWAYS = ("X-Request-Id", "X-Queue-Wait")
LIMITS = tuple(name for name in HEADERS if name.startswith("X-RateLimit"))
DONE = "[DONE]"
"""The data of a stream's last event."""
RETRY = (429, 503)
"""Statuses that say when to come back."""


def document(endpoints: Iterable[Endpoint], *, keyed: bool) -> Object:
    """The description of ``endpoints``; ``keyed``: an API key is needed for most."""
    endpoints = list(endpoints)
    schemas, components = _schemas(endpoints)
    paths: Object = {}
    named = set[str]()
    for endpoint in endpoints:
        operation = _operation(endpoint, schemas, keyed)
        if operation["operationId"] in named:  # it has other paths, too
            operation["operationId"] = endpoint.template.strip("/").replace("/", "_")
        named.add(operation["operationId"])
        paths.setdefault(endpoint.template, {})[endpoint.method.lower()] = operation
    shared: Object = {"schemas": components, "headers": HEADERS, "parameters": PARAMETERS}
    found: Object = {
        "openapi": VERSION,
        "info": {
            "title": "Forge",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name} for name in dict.fromkeys(each.group for each in endpoints)],
        "paths": paths,
        "components": shared,
    }
    if keyed:
        shared["securitySchemes"] = SCHEMES
        found["security"] = EITHER
    return found


# Schemas.


class _Schemas(GenerateJsonSchema):
    """With the docstrings of fields, and without what says nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        if found.get("default", ...) is None:
            del found["default"]
        return found

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found, cls = super().model_schema(schema), schema["cls"]
        if not getattr(cls, "closed", False):
            found.pop("additionalProperties", None)  # what is not known is ignored
        aliases = {name: field.alias or name for name, field in cls.model_fields.items()}
        return _explain(found, cls, aliases)

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        found = super().typed_dict_schema(schema)
        found["additionalProperties"] = False  # mypy holds the code to that
        return _explain(found, schema["cls"], {})


def _explain(schema: Object, cls: Any, aliases: Mapping[str, str]) -> Object:
    for name, text in descriptions(cls).items():
        field = schema["properties"].get(aliases.get(name, name))
        if field is not None:
            field.setdefault("description", text)
    return schema


def _schemas(endpoints: list[Endpoint]) -> tuple[dict[int, Object], Object]:
    """The schema for each type (by its identity), and the components that they refer to."""
    types: dict[int, Any] = {}
    for endpoint in endpoints:
        for type_ in (*endpoint.answers.values(), endpoint.failure):
            types[id(type_)] = type_
        if endpoint.body is not None:
            types[id(endpoint.body.type)] = endpoint.body.type
            if (others := _others(endpoint.body)) is not None:
                types[id(others)] = others
    mode: JsonSchemaMode = "validation"
    inputs = [(key, mode, TypeAdapter[Any](type_)) for key, type_ in types.items()]
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=REFS, schema_generator=_Schemas)
    components = rest["$defs"]
    bodies = [endpoint.body for endpoint in endpoints if endpoint.body is not None]
    for body in bodies:
        others = _others(body)
        names = {} if others is None else components[others.__name__]["properties"]
        _tell_policy(components[body.type.__name__], body, names)
    for others in filter(None, map(_others, bodies)):
        components.pop(others.__name__, None)  # its fields are in the bodies
    return {key: schema for (key, _), schema in found.items()}, components


def _others(body: Body) -> type[Names] | None:
    """Return the type of what a body may have under other programs' names."""
    found: type[Names] | None = getattr(body.type, "others_type", None)
    return found


def _tell_policy(schema: Object, body: Body, names: Mapping[str, Object]) -> None:
    """Add the fields that are not served under their names; ``names`` are those of others."""
    if "properties" not in schema:
        return  # an array
    for row in rows(fields(body.type)[1]):
        schema["properties"].setdefault(row.name, _policy(row, names))


def _policy(row: Row, names: Mapping[str, Object]) -> Object:
    """Return the schema of a field that is not served: of one refused, what is let through."""
    if row.kind == "mapped":
        return {**names[row.name], "description": f"{row.clients}: {row.note}."}
    if row.kind != "refused":
        return {"description": f"Ignored: {row.note}.", "deprecated": True}
    values = [value for value in row.neutral if not isinstance(value, Below)]
    below = [each.bound for each in row.neutral if isinstance(each, Below)]
    return {
        "anyOf": [
            {"enum": [None, *values]},
            *({"type": "number", "exclusiveMaximum": bound} for bound in below),
        ],
        "description": f"Other values are a 400 `unsupported_parameter`: {row.note}.",
        "deprecated": True,
    }


# Operations.


def _operation(endpoint: Endpoint, schemas: Mapping[int, Object], keyed: bool) -> Object:
    summary, description = endpoint.texts
    found: Object = {
        "operationId": endpoint.handler.__name__,
        "summary": summary,
        "tags": [endpoint.group],
        "responses": _responses(endpoint, schemas, keyed),
    }
    if description:
        found["description"] = description
    parameters = [
        {"name": name, "in": "path", "required": True, "description": text, **_text()}
        for name, text in endpoint.parameters.items()
    ]
    if endpoint.query is not None:
        parameters += _query(endpoint.query)
    if endpoint.queued != "no":
        parameters += [{"$ref": f"#/components/parameters/{name}"} for name in PARAMETERS]
    if parameters:
        found["parameters"] = parameters
    body = endpoint.body
    if body is not None:
        content = {"schema": schemas[id(body.type)], "example": body.example}
        found["requestBody"] = {"required": body.required, "content": {body.media: content}}
    if keyed and endpoint.open:
        found["security"] = []
    return found


def _query(type_: type[BaseModel]) -> list[Object]:
    """Return the query's parameters; those that may come more than once are lists."""
    found = TypeAdapter(type_).json_schema(schema_generator=_Schemas)["properties"]
    return [
        {
            "name": name,
            "in": "query",
            "description": schema.pop("description", ""),
            "schema": _given(schema),
        }
        for name, schema in found.items()
    ]


def _given(schema: Object) -> Object:
    """Return a schema without null, which a query can't say."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _text() -> Object:
    return {"schema": {"type": "string"}}


def _responses(endpoint: Endpoint, schemas: Mapping[int, Object], keyed: bool) -> Object:
    about = "The answer." if endpoint.answers else "It is done; the answer is empty."
    if EVENTS in endpoint.answers:
        about += " With `stream`, " + (
            "server-sent events."
            if endpoint.typed_events or not endpoint.ends
            else f"chunks as server-sent events, and `{DONE}` after the last."
        )
    if NDJSON in endpoint.answers:
        about += " Unless `stream` is false, a line of JSON for each piece."
    answer: Object = {
        "200": {
            "description": about,
            "headers": _headers(endpoint, 200),
            "content": {
                media: {"schema": _answer(endpoint, media, schemas)} for media in endpoint.answers
            },
        }
    }
    if endpoint.parts:
        part = "The part of it that the header Range asks for."
        headers = {**answer["200"]["headers"], "Content-Range": _text()}
        answer["206"] = {**answer["200"], "description": part, "headers": headers}
    if endpoint.later:
        answer["202"] = {**answer["200"], "description": "It has begun and goes on."}
    found = answer if endpoint.offered else {}
    for status, kinds in endpoint.errors().items():
        if status == 401 and not keyed:
            continue
        found[str(status)] = {
            "description": "\n".join(map(_line, kinds)),
            "headers": _headers(endpoint, status),
            "content": {JSON: {"schema": schemas[id(endpoint.failure)]}},
        }
    return found


def _answer(endpoint: Endpoint, media: str, schemas: Mapping[int, Object]) -> Object:
    """The schema of an answer; of a stream that of one of its events, as later OpenAPI has it."""
    schema = schemas[id(endpoint.answers[media])]
    either = {"anyOf": [schema, schemas[id(endpoint.failure)]]}
    if media == NDJSON:
        return either
    if media != EVENTS:
        return schema
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": either}
    if endpoint.typed_events:
        return {
            "type": "object",
            "description": "A server-sent event.",
            "properties": {
                "event": {"type": "string", "description": "The `type` in the data."},
                "data": data,
            },
            "required": ["event", "data"],
        }
    return {
        "type": "object",
        "description": "A server-sent event.",
        "properties": {
            "event": {"type": "string", "description": "`error` in the last of a failure."},
            "data": {"anyOf": [{"const": DONE}, data]} if endpoint.ends else data,
        },
        "required": ["data"],
    }


def _line(kind: type[ForgeError]) -> str:
    return f"- `{kind.code}`: {' '.join((kind.__doc__ or '').split())}"


def _headers(endpoint: Endpoint, status: int) -> Object:
    names = [*ALWAYS]
    if endpoint.queued != "no" and status == 200:
        names.append("X-Priority")
    if endpoint.queued == "seeded" and status == 200:
        names.append("X-Seed")
    if endpoint.queued != "no" and status in (200, 429):
        names += LIMITS
    if endpoint.queued != "no":
        names.append("X-Capture")
    if status == UnsupportedEncoding.status:
        names.append("Accept-Encoding")
    if endpoint.body is not None and status == 200:
        names.append("X-Ignored-Parameters")
    if status in RETRY:
        names.append("Retry-After")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
