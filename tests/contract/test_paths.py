"""Paths as clients spell them: each reaches its endpoint, with the same checks before it."""

import re
from collections.abc import Iterator
from urllib.parse import urljoin

import httpx
import pytest
from pydantic import SecretStr

from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from tests.contract.conftest import Gate
from tests.support.dialects import CHAT, COMPLETIONS, INFER, Dialect
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer
from tests.support.wire import wire

SECRET = "sk-paths"
ORIGIN = "https://app.example"
KEY = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture(scope="module")
def gate() -> Gate:
    keyring = Keyring.load(SecretStr(SECRET), None)
    return Gate(Config(alias=ALIAS, cors_origin=(ORIGIN,)), keyring)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """A server with a key, and an origin whose pages may use it."""
    with ForgeServer(
        tmp_path_factory.mktemp("paths"),
        *("--workers", "1", "--slots", "4", "--threads", "1", "--alias", ALIAS),
        *("--cors-origin", ORIGIN, "--api-key", SECRET),
        key=SECRET,
    ).serving() as server:
        yield server


@pytest.fixture(scope="module")
def http(guarded: ForgeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=DEADLINE_S) as client:
        yield client


def at(client: httpx.Client, path: str) -> str:
    """The address, with the path as it is: httpx takes two slashes for the beginning of a host."""
    return str(client.base_url).rstrip("/") + path


SPELLINGS: list[tuple[Dialect, str]] = [
    (CHAT, "/chat/completions"),
    (CHAT, "//v1/chat/completions"),
    (CHAT, "/v1//chat/completions/"),
    (CHAT, "/v1/v1/chat/completions"),
    (CHAT, "/v1/v1/v1/chat/completions"),
    (COMPLETIONS, "/completions"),
    (COMPLETIONS, "/v1/completions//"),
    (INFER, "/infer/"),
    (INFER, "//infer"),
]


@pytest.mark.parametrize(("dialect", "path"), SPELLINGS)
def test_each_spelling_is_served(answering: httpx.Client, dialect: Dialect, path: str) -> None:
    body = dialect.body(max_tokens=2)
    response = answering.post(at(answering, path), json=body, headers=KEY)
    assert response.status_code == 200, response.text
    assert response.json()["usage"]["completion_tokens"] <= 2


@pytest.mark.parametrize(("dialect", "path"), SPELLINGS)
def test_each_spelling_needs_the_key(front: httpx.Client, dialect: Dialect, path: str) -> None:
    for headers in ({}, {"X-API-Key": "wrong"}):
        response = front.post(at(front, path), json=dialect.body(), headers=headers)
        assert dialect.refusal(response).code == "invalid_api_key", "in the dialect's shape"


@pytest.mark.parametrize(
    "path", ["//metrics", "/queue/", "/v1/v1/models", "/models", "//workers//", "/models/"]
)
def test_no_spelling_opens_what_is_closed(front: httpx.Client, path: str) -> None:
    for ask in (front.get, front.head):
        assert ask(at(front, path)).status_code == 401
        assert ask(at(front, path), headers=KEY).status_code == 200


@pytest.mark.parametrize("path", ["//health", "/health/", "//", "/docs", "//openapi.json"])
def test_open_paths_are_open_in_each_spelling(front: httpx.Client, path: str) -> None:
    for ask in (front.get, front.head):
        assert ask(at(front, path)).status_code == 200


@pytest.mark.parametrize("path", ["/v1//chat/completions", "/chat/completions/", "//infer"])
def test_preflights(front: httpx.Client, path: str) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    response = front.options(at(front, path), headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert front.options(at(front, path), headers=KEY).status_code == 405


def test_models(front: httpx.Client) -> None:
    found = front.get("/v1/models", headers=KEY).json()
    for path in ("/models", "/v1/models/", "/v1//models", "/v1/v1/models"):
        assert front.get(at(front, path), headers=KEY).json() == found
    for path in (f"/models/{ALIAS}", f"/v1/models/{ALIAS}/"):
        assert front.get(at(front, path), headers=KEY).json()["id"] == ALIAS
    # A name may have slashes, encoded or not; only one that the client wrote as such is joined.
    for path, name in (("a%2F%2Fb", "a//b"), ("a//b", "a/b"), ("a/b/", "a/b")):
        response = front.get(at(front, f"/v1/models/{path}"), headers=KEY)
        assert response.status_code == 404
        assert f"'{name}'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v1/chat/completion", "POST /v1/chat/completions"),
        ("/v1/", "POST /v1/chat/completions"),
        ("/openai/chat", "POST /api/chat, POST /v1/chat/completions"),
        ("/v1/tokenize", "POST /tokenize"),
        ("/doc", "GET /docs"),
        ("/v1/model", "GET /v1/models, POST /models/load"),
    ],
)
def test_an_unknown_path_says_what_there_is_near(front: httpx.Client, path: str, near: str) -> None:
    response = front.get(path, headers=KEY)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    told = path.rstrip("/")
    assert response.json()["error"]["message"].startswith(
        f"there is nothing at {told}; near it: {near}"
    )
    assert near not in front.get(path).text, "without a key no path is told"


@pytest.mark.parametrize(
    "path", ["/.env", "//evil.example/", "//evil.example//x", "/" + "x" * 4000]
)
def test_an_unknown_path_with_nothing_near(front: httpx.Client, path: str) -> None:
    response = front.get(at(front, path), headers=KEY)
    assert response.status_code == 404
    assert "location" not in response.headers
    message = response.json()["error"]["message"]
    assert message.endswith("; GET /openapi.json lists the endpoints")
    assert len(message) < 300


@pytest.mark.parametrize(
    "path", ["/docs/", "//docs//", "/dashboard/", "/dashboard///", "//dashboard/", "/docs"]
)
def test_a_page_finds_its_parts(front: httpx.Client, path: str) -> None:
    """They are named relative to it: an address with a slash at its end leads away from it."""
    url = at(front, path)
    response = front.get(url)
    if path.endswith("/"):
        assert response.status_code == 308
        url = urljoin(url, response.headers["location"])
        assert url == at(front, path.replace("//", "/").replace("//", "/").rstrip("/"))
        response = front.get(url)
    parts = re.findall(r'(?:src|href)="([a-z][^"#]+\.(?:css|js))"', response.text)
    assert parts
    for part in parts:
        assert front.get(urljoin(url, part)).status_code == 200


def test_errors_before_the_application_know_the_dialect(guarded: ForgeServer) -> None:
    """A body that is no HTTP, at a path with a slash too many: in the shape of /infer."""
    with wire(guarded) as client:
        client.send(
            b"POST //infer/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: x\r\n\r\nzz\r\n"
        )
        answer = client.answer()
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.body.startswith(b'{"error":"')
