"""Web pages of other origins: allowed only where the operator says so."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from tests.conftest import Start
from tests.contract.conftest import Gate
from tests.support.dialects import CHAT, INFER, Dialect
from tests.support.front import blocking_front
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer
from tests.support.shared_servers import SharedServers

ORIGIN = "https://app.example"
OTHER = "https://other.example"
SECRET = "sk-page"
KEY = {"Authorization": f"Bearer {SECRET}"}


ORIGINS = (ORIGIN, "http://localhost:3000")


@pytest.fixture(scope="module")
def gate() -> Gate:
    """As ``crossed``, in this process."""
    keyring = Keyring.load(SecretStr(SECRET), None)
    return Gate(Config(alias=ALIAS, cors_origin=ORIGINS), keyring)


@pytest.fixture(scope="module")
def crossed(shared_servers: SharedServers) -> ForgeServer:
    """A server with a key, and two origins whose pages may use it."""
    options = ("--cors-origin", ", ".join(ORIGINS), "--api-key", SECRET)
    return shared_servers("--workers", "1", "--slots", "4", *options, key=SECRET)


@pytest.fixture(scope="module")
def http(crossed: ForgeServer) -> Iterator[httpx.Client]:
    """For the cases on a real server."""
    with httpx.Client(base_url=crossed.url, timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture
def page(answering: httpx.Client) -> httpx.Client:
    """A client that sends what a page of the allowed origin does, which is no key by itself."""
    answering.headers["Origin"] = ORIGIN
    return answering


def preflight(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    wanted = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang,x-priority",
    }
    return client.options(path, headers={**wanted, **headers})


def crossing(response: httpx.Response) -> dict[str, str]:
    """The headers about other origins."""
    return {k: v for k, v in response.headers.items() if k.startswith("access-control-")}


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
def test_a_preflight_needs_no_key(page: httpx.Client, dialect: Dialect, origin: str) -> None:
    response = preflight(page, dialect.path, Origin=origin)
    assert response.status_code == 200
    headers = crossing(response)
    assert headers["access-control-allow-origin"] == origin
    assert "POST" in headers["access-control-allow-methods"]
    # What the official client in a browser and our own parameters need.
    allowed = headers["access-control-allow-headers"].lower()
    assert {"authorization", "x-stainless-lang", "x-priority"} <= set(allowed.split(","))
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("origin", [OTHER, "http://app.example", ORIGIN + ":8443", "null"])
def test_a_preflight_of_others(page: httpx.Client, origin: str) -> None:
    """Nothing is said, so their browsers refuse; 200, as from llama-server."""
    response = preflight(page, CHAT.path, Origin=origin)
    assert response.status_code == 200
    assert crossing(response) == {}
    assert response.headers["vary"].startswith("Origin")


PRIVATE = {"Access-Control-Request-Private-Network": "true"}


def test_a_page_in_the_world_may_call_into_a_private_network(page: httpx.Client) -> None:
    """If its origin is named: its user's browser asks first."""
    response = preflight(page, CHAT.path, **PRIVATE)
    assert response.status_code == 200
    assert response.headers["access-control-allow-private-network"] == "true"
    assert "Access-Control-Request-Private-Network" in response.headers["vary"]
    unasked = preflight(page, CHAT.path)
    assert "access-control-allow-private-network" not in unasked.headers
    other = preflight(page, CHAT.path, Origin=OTHER, **PRIVATE)
    assert crossing(other) == {}


def test_an_answer_can_be_read_by_the_page(page: httpx.Client, dialect: Dialect) -> None:
    answer = dialect.ask(page, headers=KEY, max_tokens=1)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in answer.headers["vary"]
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"x-request-id", "x-queue-wait", "x-priority", "x-seed", "retry-after"} <= set(exposed)


def test_a_stream_can_be_read_by_the_page(page: httpx.Client, streamed: Dialect) -> None:
    body = streamed.body(stream=True, max_tokens=3)
    response = page.post(streamed.path, json=body, headers=KEY)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN


ERRORS: list[tuple[int, str, str, dict[str, str]]] = [
    (401, "POST", "/infer", {}),
    (401, "GET", "/no/such/path", {"X-API-Key": "wrong"}),
    (404, "GET", "/no/such/path", KEY),
    (405, "PUT", "/infer", KEY),
    (400, "POST", "/infer", KEY),
]


@pytest.mark.parametrize(("status", "method", "path", "headers"), ERRORS)
def test_errors_can_be_read_by_the_page(
    page: httpx.Client, status: int, method: str, path: str, headers: dict[str, str]
) -> None:
    response = page.request(method, path, headers=headers)
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"]


def test_other_pages_and_programs(page: httpx.Client) -> None:
    """Others are served, as a server can't tell a page from a program, but a page can't read it."""
    response = page.get("/health", headers={"Origin": OTHER})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_all_origins(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--cors-origin", "*")
    with server.client(Origin=OTHER) as client:
        assert crossing(preflight(client, CHAT.path))["access-control-allow-origin"] == "*"
        private = preflight(client, CHAT.path, **PRIVATE)
        assert private.status_code == 400, "not for all pages of the world"
        assert "access-control-allow-private-network" not in private.headers
        answer = INFER.ask(client, max_tokens=1)
        assert answer.headers["access-control-allow-origin"] == "*"
    server.stop()


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/no/such/path"])
def test_off_by_default(server: ForgeServer, path: str) -> None:
    with server.client(Origin=ORIGIN) as client:
        nothing: dict[str, Any] = {}
        assert crossing(client.get(path)) == nothing
        response = preflight(client, path)
        assert response.status_code in (404, 405)
        assert crossing(response) == nothing


def test_localhost_is_every_page_of_this_machine() -> None:
    """As with llama-server: whatever its port is, and nothing that only begins or ends so."""
    config = Config.model_validate({"alias": ALIAS, "cors_origin": f"localhost,{ORIGIN}"})
    own = ("http://localhost:30", "https://localhost", "http://127.0.0.1:80", "http://[::1]")
    others = ("http://localhost.example", "http://alocalhost", "http://127.0.0.1.example",
              "http://localhost:3000@a", "http://127.0.0.11", "null", "localhost")  # fmt: skip
    with blocking_front(config, None, answers=True) as client:
        for origin in (*own, ORIGIN):
            allowed = crossing(preflight(client, CHAT.path, Origin=origin))
            assert allowed["access-control-allow-origin"] == origin
            found = client.get("/v1/models", headers={"Origin": origin}).headers
            assert found["access-control-allow-origin"] == origin
        for origin in others:
            assert crossing(preflight(client, CHAT.path, Origin=origin)) == {}
            found = client.get("/v1/models", headers={"Origin": origin}).headers
            assert "access-control-allow-origin" not in found
