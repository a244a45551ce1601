"""JSON schemas and grammars in a request: bounds on them, and the constraint they ask for.

Whether a schema can be enforced is the worker's to say. What would be expensive to find out is
refused here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from gateway.api.nested import Nested
from gateway.core.errors import BadRequest
from workers.protocol import STRICT_SCHEMA, Constraint, Grammar, JsonSchema

MAX_DEPTH = 64
MAX_NODES = 5000
MAX_GRAMMAR = 64 * 1024
"""Characters."""


def _bounded(given: dict[str, Any]) -> dict[str, Any]:
    """Raises PydanticCustomError for an object that is too deep or too large."""
    nodes, level = 0, [given]
    for _ in range(MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
        nodes += len(deeper)
        if nodes > MAX_NODES:
            raise PydanticCustomError("too_large", f"it may hold {MAX_NODES} values at most")
        if not deeper:
            return given
        level = deeper
    raise PydanticCustomError("too_deep", f"it may be nested {MAX_DEPTH} levels deep at most")


Json = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""A JSON object within bounds: what is sent on to a worker is read there by others."""
Schema = Json
GrammarSource = Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR)]


class TextFormat(Nested):
    type: Literal["text"]


class JsonObjectFormat(Nested):
    type: Literal["json_object"]
    json_schema: Schema | None = Field(None, alias="schema")
    """llama-server's way to give one."""


class SchemaFormat(Nested):
    name: str | None = None
    description: str | None = None
    json_schema: Schema | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Nested):
    type: Literal["json_schema"]
    json_schema: SchemaFormat | None = None
    flat: Schema | None = Field(None, alias="schema")
    """llama-server's way to give one."""


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


def constraint(
    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None,
    json_schema: dict[str, Any] | None,
    grammar: str | None,
    others: Mapping[str, Constraint] | None = None,
) -> Constraint | None:
    """Return the constraint on the answer. Raises BadRequest if it is asked for twice.

    ``others``: those that have other programs' names.
    """
    asked: dict[str, Constraint] = dict(others or {})
    if isinstance(response_format, JsonObjectFormat):
        schema = response_format.json_schema
        schema = {"type": "object"} if schema is None else schema
        asked["response_format"] = JsonSchema(schema, param="response_format", within=("schema",))
    elif isinstance(response_format, JsonSchemaFormat):
        if response_format.json_schema is None and response_format.flat is None:
            param = "response_format.json_schema"
            raise BadRequest(f"'{param}' is required", param=param)
        given = response_format.json_schema or SchemaFormat(schema=response_format.flat)
        asked["response_format"] = JsonSchema(
            given.json_schema or {},
            given.strict is not False,
            param="response_format",
            within=STRICT_SCHEMA,
        )
    if json_schema is not None:
        asked["json_schema"] = JsonSchema(json_schema, param="json_schema")
    if grammar is not None:
        asked["grammar"] = Grammar(grammar, param="grammar")
    if len(asked) > 1:
        first, second, *_ = asked
        message = f"give either '{first}' or '{second}': an answer can't be held to both"
        raise BadRequest(message, param=second)
    return next(iter(asked.values()), None)
