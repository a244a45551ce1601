"""The server as it is described: schemathesis asks a server for everything, and for worse.

For each endpoint it takes the example, the boundary values of every field (valid ones, and ones
just outside), unexpected methods, and some bodies at random; all of its checks look at the answers.
"""

from typing import Any

import orjson
import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, ServerError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

from gateway.api.endpoint import CONVERSATION
from tests.support.api_description import description
from tests.support.server import ForgeServer
from tests.support.settling import settle

EXAMPLES = 20
"""Random bodies for each endpoint; boundary values are hundreds more."""
CONFIG: dict[str, Any] = {
    "seed": 1,
    "generation": {
        "max-examples": EXAMPLES,
        "deterministic": True,
        "no-shrink": True,
        "database": "none",
    },
    "phases": {"stateful": {"enabled": False}},  # no endpoint makes what another one takes
}
MODEL_SAYS = {
    *("invalid_prompt", "invalid_constraint", "context_length_exceeded", "model_stays"),
    "model_not_supported",
    *(kind.code for kind in CONVERSATION),
}
"""Codes of refusals that a description can't foresee."""
DESCRIBED = {"deadline_exceeded", "not_offered"}
"""Codes of refusals with a status of 5xx that are no faults."""

api = schemathesis.openapi.from_dict(description(), config=SchemathesisConfig.from_dict(CONFIG))


@api.hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    """HTTP lets unknown headers pass; a number in quotes is read as a number."""
    if "x-schemathesis-unknown-property" in case.headers:
        return False
    values = case.body.values() if isinstance(case.body, dict) else ()
    in_quotes = any(isinstance(each, str) and each.isdecimal() for each in values)
    return not in_quotes or _valid(case, ParameterLocation.BODY)


@api.hook
def map_case(context: HookContext, case: Case[Any]) -> Case[Any]:
    """Keep generations short, and let valid bodies not contradict themselves."""
    if isinstance(case.body, dict) and _valid(case, ParameterLocation.BODY):
        settle(case.path, case.body)
    if case.path == "/lora-adapters" and _valid(case, ParameterLocation.BODY):
        case.body = []  # it has no adapters
    if _valid(case, ParameterLocation.QUERY):
        for name in ("since", "until"):  # a schema can't tell dates
            case.query.pop(name, None)
    if _valid(case, ParameterLocation.HEADER) and "X-Request-Timeout" in case.headers:
        case.headers["X-Request-Timeout"] = "60"
    return case


@api.hook
def filter_failure(
    context: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """A valid request may be refused for what only the model can tell; some 5xx are described."""
    if isinstance(failure, ServerError):
        return _code(response) not in DESCRIBED
    return not (isinstance(failure, RejectedPositiveData) and _code(response) in MODEL_SAYS)


@api.parametrize()
def test_the_server_is_as_described(case: Case[Any], server: ForgeServer) -> None:
    case.call_and_validate(base_url=server.url)


def _valid(case: Case[Any], location: ParameterLocation) -> bool:
    if case.meta is None or location not in case.meta.components:
        return True
    return case.meta.components[location].mode.is_positive


def _code(response: Response) -> Any:
    body = orjson.loads(response.content)
    if "code" in body or not isinstance(body["error"], dict):
        return body.get("code")
    return body["error"].get("reason", body["error"]["code"])
