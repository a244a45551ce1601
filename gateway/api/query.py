"""The query of a request, validated."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from gateway.core.errors import BadRequest
from gateway.core.validation import explain

Query = TypeVar("Query", bound=BaseModel)
LISTS = "[]"
"""Written by OpenAI's clients behind the name of a parameter that may come more than once."""


def read_query(request: Request, type_: type[Query]) -> Query:
    """Return the parameters that ``type_`` has; others are ignored. Raises BadRequest."""
    given = request.query_params
    raw: dict[str, object] = {}
    for name, field in type_.model_fields.items():
        if "list" in str(field.annotation):
            values = [*given.getlist(name), *given.getlist(name + LISTS)]
            if values:
                raw[name] = values
        elif name in given:
            raw[name] = given[name]
    try:
        return type_.model_validate(raw)
    except ValidationError as error:
        problem = explain(error, raw)
        param = ".".join(problem.path)
        raise BadRequest(f"'{param}': {problem.message}", param=param) from None
