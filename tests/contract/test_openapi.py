"""The description is whole, and what is answered is as described; the page that shows it."""

import re
from typing import Any

import httpx
import jsonschema
import orjson
import pytest
from openai.types import completion_create_params as completion_params
from openai.types import embedding_create_params as embedding_params
from openai.types import file_create_params as file_params
from openai.types import upload_create_params as upload_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import input_token_count_params as count_params
from openai.types.responses import response_create_params as response_params
from schemathesis.specs.openapi.definitions import OPENAPI_31
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.api.ops import WorkerItem
from gateway.app import Gateway
from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.contract.test_tools import WEATHER
from tests.support.api_description import description
from tests.support.dialects import CHAT, COMPLETIONS, DONE, INFER, RESPONSES, Dialect, data_of
from tests.support.memory_pool import MemoryPool
from tests.support.server import ForgeServer
from workers.protocol import Load

Object = dict[str, Any]
API = description()
UNSEEN = {"/", "/openapi.json", "/docs", "/dashboard"}
"""Paths that are not described, and what is below them."""


def operations() -> list[tuple[str, str, Object]]:
    """Method, path and description of each operation."""
    return [
        (method, path, operation)
        for path, methods in API["paths"].items()
        for method, operation in methods.items()
    ]


def resolved(value: Object) -> Object:
    """The schema by itself: what it refers to comes along."""
    return {**value, "components": API["components"]}


def check(path: str, answer: httpx.Response, *, status: int = 200) -> Any:
    """An answer's body, which is as described for its path, method, status and media type."""
    assert answer.status_code == status, answer.text
    operation = API["paths"][path][answer.request.method.lower()]
    content = operation["responses"][str(status)]["content"]
    if not content:
        assert answer.content == b""
        return None
    media = answer.headers["content-type"].split(";")[0]
    found = content[media]["schema"]
    body = answer.json()
    jsonschema.Draft202012Validator(resolved(found)).validate(body)
    return body


# ------------------------------------------------------------------ the description by itself


def test_it_is_openapi() -> None:
    jsonschema.Draft202012Validator(OPENAPI_31).validate(API)
    for schema in API["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_live_server_tells_the_same(server: ForgeServer) -> None:
    assert server.get("/openapi.json") == API


def test_every_route_is_described() -> None:
    app: Any = Gateway(Config(), None, MemoryPool(1)).app()
    while not isinstance(app, Starlette):
        app = app._app
    routes = {
        (method.lower(), re.sub(r":\w+}", "}", route.path))
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    described = {(method, path) for method, path, _ in operations()}
    assert len(described) > 10
    assert {path for _, path in routes - described} > UNSEEN
    assert all(f"/{path.split('/')[1]}" in UNSEEN for _, path in routes - described)
    assert described <= routes


@pytest.mark.parametrize(("method", "path", "operation"), operations(), ids=str)
def test_every_operation_says_what_it_does(method: str, path: str, operation: Object) -> None:
    assert operation["summary"]
    assert operation["tags"] != [""]
    for status, response in operation["responses"].items():
        assert status in ("200", "202", "206") or re.fullmatch(
            r"(- `\w+`: .+\n?)+", response["description"]
        )


def body_of(operation: Object) -> Object:
    """The schema of what it takes."""
    (content,) = operation["requestBody"]["content"].values()
    schema = content["schema"]
    found: Object = API["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


POSTS = [each for method, _, each in operations() if method == "post" and "requestBody" in each]


@pytest.mark.parametrize("operation", POSTS, ids=lambda operation: operation["operationId"])
def test_every_field_of_a_body_is_explained(operation: Object) -> None:
    """Others are let through, and ignored; in a reload they are errors."""
    body = body_of(operation)
    assert body.get("additionalProperties") is (
        False if operation["operationId"] == "reload" else None
    )
    fields = body["properties"].items() if body.get("type") != "array" else ()
    assert [name for name, field in fields if not field.get("description")] == []


CLIENTS = [
    (CHAT.path, chat_params.CompletionCreateParamsStreaming),
    (COMPLETIONS.path, completion_params.CompletionCreateParamsStreaming),
    ("/v1/embeddings", embedding_params.EmbeddingCreateParams),
    (RESPONSES.path, response_params.ResponseCreateParamsStreaming),
    (f"{RESPONSES.path}/input_tokens", count_params.InputTokenCountParams),
    ("/v1/files", file_params.FileCreateParams),
    ("/v1/uploads", upload_params.UploadCreateParams),
]


@pytest.mark.parametrize(("path", "params"), CLIENTS)
def test_every_parameter_of_the_official_client_is_known(path: str, params: Any) -> None:
    """Served, or refused by name: this fails when the client learns what nobody here knows."""
    known = body_of(API["paths"][path]["post"])["properties"]
    assert len(params.__annotations__) > 2
    assert params.__annotations__.keys() <= known.keys()


def test_keys_are_described_where_there_are_any() -> None:
    assert "security" not in API
    assert "401" not in API["paths"]["/infer"]["post"]["responses"]
    keyed = description(Keyring([ApiKey("app", digest("sk-app"))]))
    schemes = keyed["components"]["securitySchemes"]
    assert keyed["security"] == [{name: []} for name in schemes]
    assert {scheme.get("scheme", scheme.get("name")) for scheme in schemes.values()} == {
        "bearer",
        "X-API-Key",
    }
    assert "401" in keyed["paths"]["/infer"]["post"]["responses"]
    health = keyed["paths"]["/health"]["get"]
    assert health["security"] == []
    assert "401" not in health["responses"]


def test_all_that_is_known_of_a_worker_is_told() -> None:
    status = {"id", "model", "model_file", "pid", "state", "slots", "busy", "restarts", "questions"}
    where = {"node", "address", "download"}
    assert set(WorkerItem.__annotations__) == status | where | set(Load.__struct_fields__)


# ------------------------------------------------------------------ answers are as described

FORM = "multipart/form-data"
EXAMPLES = [
    (method, path, media, content)
    for method, path, operation in operations()
    if "requestBody" in operation and not path.startswith("/v1/conversations/{")
    for media, content in operation["requestBody"]["content"].items()
]


RANKING = ("/v1/rerank", "/v1/reranking", "/v2/rerank", "/v1/score")
STORED = ("/v1/files", "/v1/uploads", "/v1/batches", "/keys")
OTHERWISE = {
    "/models/unload": 409,
    "/api/delete": 404,
    "/v1/load_lora_adapter": 501,
    "/v1/unload_lora_adapter": 404,
    **{path: 404 for _, path, *_ in EXAMPLES if path.startswith(STORED)},
    **dict.fromkeys(("/infill", *RANKING), 400),
}
"""Statuses of examples on a server that has one model, which stays, neither fills in nor ranks,
no place for files, batches and keys, and no adapters."""


@pytest.mark.parametrize(("method", "path", "media", "content"), EXAMPLES)
def test_examples(http: httpx.Client, method: str, path: str, media: str, content: Object) -> None:
    example = content["example"]
    jsonschema.Draft202012Validator(resolved(content["schema"])).validate(example)
    sent = {"files": _form(example)} if media == FORM else {"json": example}
    answer = http.request(method, path, **sent)
    check(path, answer, status=OTHERWISE.get(path, 200))
    if path == "/api/copy":  # other tests use this server, too
        http.request("DELETE", "/api/delete", json={"model": example["destination"]})


def _form(example: Object) -> dict[str, tuple[str | None, str]]:
    """Return a form's fields, of which those that are bytes are files."""
    return {
        name: ("a" if name in ("file", "data") else None, value) for name, value in example.items()
    }


READ = [
    *("/health", "/metrics", "/workers", "/queue", "/v1/models", "/v1/models/{name}"),
    *("/v1/health", "/props", "/slots", "/lora-adapters", "/api/tags", "/api/ps"),
]


@pytest.mark.parametrize("path", READ)
def test_what_is_read(answering: httpx.Client, path: str) -> None:
    check(path, answering.get(path.replace("{name}", "forge-tiny")))


TOOL: Object = {"tools": [WEATHER], "tool_choice": "required"}
SCHEMA: Object = {"json_schema": {"type": "object", "maxProperties": 0}}
BODIES: list[tuple[Dialect, Object]] = [
    (CHAT, {"logprobs": True, "top_logprobs": 2, "max_tokens": 3, "timings": True}),
    (CHAT, {"n": 2, "service_tier": "flex", "max_tokens": 3}),
    (CHAT, TOOL),
    (CHAT, {"verbose": True, "return_progress": True, "max_tokens": 3}),
    (COMPLETIONS, {"logprobs": 2, "echo": True, "max_tokens": 3, "timings": True}),
    (INFER, SCHEMA),
]


@pytest.mark.parametrize(("dialect", "params"), BODIES, ids=str)
def test_generations(http: httpx.Client, dialect: Dialect, params: Object) -> None:
    body = check(dialect.path, http.post(dialect.path, json=dialect.body(**params)))
    if params is TOOL:
        assert body["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize(("dialect", "params"), BODIES[:-1], ids=str)
def test_streams(http: httpx.Client, dialect: Dialect, params: Object) -> None:
    options = {"include_usage": True}
    body = dialect.body(stream=True, stream_options=options, **params)
    operation = API["paths"][dialect.path]["post"]
    event = operation["responses"]["200"]["content"]["text/event-stream"]["schema"]
    done, data = event["properties"]["data"]["anyOf"]
    chunk = jsonschema.Draft202012Validator(resolved(data["contentSchema"]))
    with http.stream("POST", dialect.path, json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(data_of(response.iter_lines()))
    assert events.pop() == DONE == done["const"]
    assert len(events) > 2
    for text in events:
        chunk.validate(orjson.loads(text))


FAILURES: list[tuple[str, str, Object | None, int]] = [
    ("POST", INFER.path, {}, 400),
    ("POST", CHAT.path, {"messages": [], "audio": {}}, 400),
    ("POST", COMPLETIONS.path, {"prompt": "a", "model": "no"}, 404),
    ("GET", "/v1/models/{name}", None, 404),
    ("GET", "/queue/{name}", None, 404),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), FAILURES)
def test_failures(front: httpx.Client, method: str, path: str, body: Any, status: int) -> None:
    url = path.replace("{name}", "nobody")
    check(path, front.request(method, url, json=body), status=status)


def test_places_in_the_queue(http: httpx.Client) -> None:
    """More sequences than there are slots: some wait until the client hangs up."""
    body = COMPLETIONS.body(n=16, stream=True, max_tokens=1500, ignore_eos=True)
    with http.stream("POST", COMPLETIONS.path, json=body) as response:
        name = response.headers["x-request-id"]
        queue = check("/queue", http.get("/queue"))
        assert {place["id"] for place in queue["waiting"]} == {name}
        check("/queue/{name}", http.get(f"/queue/{name}"))


# ------------------------------------------------------------------ the page


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_read_once(front: httpx.Client, path: str) -> None:
    first = front.get(path)
    assert first.status_code == 200
    assert first.headers["content-security-policy"].startswith("default-src 'none'")
    again = front.get(path, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    changed = front.get(path, headers={"If-None-Match": '"x"'})
    assert changed.content == first.content
    assert front.head(path).status_code == 200


def test_the_page_needs_nobody_else(front: httpx.Client) -> None:
    """All that it loads is there; and the policy lets nothing in from elsewhere."""
    page = front.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 6
    for link in loaded:
        if link != "data:,":
            assert front.get(f"/{link}").status_code == 200, link
    program = front.get("/docs/page.js").text
    assert re.findall(r'url: "([^"]+)"', program) == ["openapi.json"]
    assert "//" not in program.replace("// ", "")
    policy = page.headers["content-security-policy"]
    sources = [source for part in policy.split("; ") for source in part.split()[1:]]
    assert set(sources) == {"'none'", "'self'", "data:"}
    assert front.get("/docs/__init__.py").status_code == 404
