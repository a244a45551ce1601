"""API keys: who gets in, how far up, how often; and that no secret is ever shown."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from tests.conftest import Start
from tests.contract.conftest import Gate
from tests.support.dialects import CHAT, INFER, Dialect
from tests.support.server import ALIAS, DEADLINE_S, ForgeServer

SECRETS = {name: f"sk-{name}-5f2b9d41" for name in ("default", "app", "batch", "few", "tokens")}
WRONG = "sk-wrong-77ab03c2"
KEYS = f"""
[[key]]
name = "app"
key = "{SECRETS["app"]}"
max-priority = "normal"

[[key]]
name = "batch"
key = "{SECRETS["batch"]}"
max-priority = 0
weight = 0.5

[[key]]
name = "few"
key = "{SECRETS["few"]}"
requests-per-minute = 30

[[key]]
name = "tokens"
key = "{SECRETS["tokens"]}"
tokens-per-minute = 60
"""
SHORT: dict[str, Any] = {"max_tokens": 1}


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keyed") / "keys.toml"
    file.write_text(KEYS)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def gate(key_file: Path) -> Gate:
    keyring = Keyring.load(SecretStr(SECRETS["default"]), key_file)
    return Gate(Config(alias=ALIAS), keyring)


@pytest.fixture(scope="module")
def keyed(key_file: Path) -> Iterator[ForgeServer]:
    """A server with a key from the environment and others from a file, that logs all it can."""
    shape = ("--workers", "1", "--slots", "4", "--threads", "1", "--alias", ALIAS)
    with ForgeServer(
        key_file.parent,
        *shape,
        *("--api-key-file", str(key_file), "--log-level", "debug"),
        env={"FORGE_API_KEY": SECRETS["default"]},
        key=SECRETS["default"],
    ).serving() as server:
        yield server
    for secret in (*SECRETS.values(), WRONG):
        assert secret not in server.stderr + server.stdout


@pytest.fixture(scope="module")
def http(keyed: ForgeServer) -> Iterator[httpx.Client]:
    """A client that shows no key by itself."""
    with httpx.Client(base_url=keyed.url, timeout=DEADLINE_S) as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[name]}"}


# ------------------------------------------------------------------ who gets in

CLOSED = [
    *(("GET", path) for path in ("/metrics", "/workers", "/queue", "/queue/1", "/v1/models")),
    *(
        ("GET", path)
        for path in ("/dashboard/events", "/v1/models/forge-tiny", "/no/such/path", "/health/x")
    ),
    *(("POST", path) for path in ("/v1/chat/completions", "/v1/completions", "/health")),
    *(("POST", path) for path in ("/", "/dashboard/flood")),
    *(("POST", path) for path in ("/models/load", "/models/unload")),
    *(("POST", path) for path in ("/tokenize", "/detokenize", "/apply-template")),
    *((method, "/infer") for method in ("POST", "GET", "OPTIONS")),
]
STRANGERS = [
    {},
    {"Authorization": f"Bearer {WRONG}"},
    {"X-API-Key": WRONG},
    {"Authorization": "Bearer"},
    {"Authorization": f"Basic {SECRETS['app']}"},
    {"Authorization": SECRETS["app"]},
    {"Authorization": f"Bearer {SECRETS['app']}x"},
    {"Authorization": f"Bearer {SECRETS['app'][:-1]}"},
    {"X-API-Key": ""},
    {"Authorization": f"Bearer {WRONG}", "X-API-Key": f"{WRONG}2"},
    {"Authorization": f"Bearer {WRONG}", "X-API-Key": ""},
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("headers", STRANGERS)
def test_strangers(front: httpx.Client, method: str, path: str, headers: dict[str, str]) -> None:
    response = front.request(method, path, headers=headers)
    dialect = INFER if path == "/infer" else CHAT
    failure = dialect.refusal(response)
    assert (failure.status, failure.code, failure.param) == (401, "invalid_api_key", None)
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"]
    assert "sk-" not in response.text


def test_health_is_open(front: httpx.Client) -> None:
    assert front.get("/health").json() == {"status": "ok"}
    assert front.head("/health").status_code == 200
    assert front.get("/health", headers={"X-API-Key": WRONG}).status_code == 200


def test_the_description_is_open(front: httpx.Client) -> None:
    """Nothing in it is secret, and it says how to show a key."""
    assert front.get("/openapi.json").json()["security"] == [{"bearer": []}, {"header": []}]
    for path in ("/docs", "/docs/page.js", "/docs/page.css", "/docs/swagger-ui-bundle.js"):
        assert front.get(path).status_code == 200
    for method, path in (("GET", "/docs/x"), ("GET", "/docs/x/"), ("POST", "/docs")):
        assert front.request(method, path).status_code == 401


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_key_as_bearer_token(answering: httpx.Client, dialect: Dialect, scheme: str) -> None:
    dialect.ask(answering, headers={"Authorization": scheme + SECRETS["app"]}, **SHORT)


def test_a_key_in_its_own_header(answering: httpx.Client, dialect: Dialect) -> None:
    dialect.ask(answering, headers={"X-API-Key": SECRETS["app"]}, **SHORT)
    basic = {"Authorization": "Basic YTpi", "X-API-Key": SECRETS["app"]}
    dialect.ask(answering, headers=basic, **SHORT)


def test_either_of_two_keys(answering: httpx.Client, dialect: Dialect) -> None:
    """Programs that have a key for another server, too, send both; a right one opens."""
    mine, other = SECRETS["batch"], "sk-of-another-server"
    for bearer_, own in ((mine, other), (other, mine), (mine, mine)):
        headers = {"Authorization": f"Bearer {bearer_}", "X-API-Key": own}
        assert dialect.ask(answering, headers=headers, **SHORT).headers["x-priority"] == "0"
    both = {"Authorization": f"Bearer {SECRETS['app']}", "X-API-Key": mine}
    answer = dialect.ask(answering, headers=both, priority=1, **SHORT)
    assert answer.headers["x-priority"] == "1", "the bearer token counts"


@pytest.mark.parametrize("name", ["default", "app", "batch"])
def test_every_key_opens_everything_there_is(answering: httpx.Client, name: str) -> None:
    for path in ("/metrics", "/workers", "/queue", "/v1/models", "/v1/models/forge-tiny"):
        assert answering.get(path, headers=bearer(name)).status_code == 200
    assert answering.get("/no/such/path", headers=bearer(name)).status_code == 404
    assert answering.get("/infer", headers=bearer(name)).status_code == 405


def test_the_body_of_a_stranger_is_not_read(keyed: ForgeServer) -> None:
    """The answer comes to the headers alone; a client that asks whether to send is told no."""
    url = httpx.URL(keyed.url)
    assert url.port is not None
    head = b"POST /infer HTTP/1.1\r\nHost: forge\r\nContent-Length: 1000000\r\n"
    for more in (b"", b"Expect: 100-continue\r\n"):
        with closing(socket.create_connection((url.host, url.port), DEADLINE_S)) as wire:
            wire.sendall(head + more + b"\r\n")
            assert wire.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_a_connection_survives_a_stranger(http: httpx.Client) -> None:
    """Even if the stranger sent more than anyone may."""
    for _ in range(3):
        response = http.post("/infer", content=b" " * 5_000_000, headers={"X-API-Key": WRONG})
        assert response.status_code == 401
        INFER.ask(http, headers=bearer("app"), **SHORT)


def test_the_official_client(keyed: ForgeServer) -> None:
    base_url = f"{keyed.url}/v1"
    with openai.OpenAI(base_url=base_url, api_key=SECRETS["app"], max_retries=0) as client:
        assert [model.id for model in client.models.list()] == [ALIAS]
        answer = client.completions.create(model=ALIAS, prompt="Once", max_tokens=1)
        assert answer.usage is not None
        with pytest.raises(openai.PermissionDeniedError) as denied:
            client.chat.completions.create(
                model=ALIAS,
                messages=[{"role": "user", "content": "hello"}],
                service_tier="priority",
            )
        assert (denied.value.code, denied.value.param) == ("priority_not_allowed", "service_tier")
    with openai.OpenAI(base_url=base_url, api_key=WRONG, max_retries=0) as client:
        for ask in (
            client.models.list,
            lambda: client.completions.create(model=ALIAS, prompt="Once", stream=True),
        ):
            with pytest.raises(openai.AuthenticationError) as caught:
                ask()
            assert caught.value.code == "invalid_api_key"


def test_the_banner_tells_how_to_ask(start_server: Start) -> None:
    server = start_server("--workers", "1", "--slots", "1", "--api-key", WRONG, key=WRONG)
    assert WRONG not in server.stdout
    (line,) = (line for line in server.stdout.splitlines() if line.strip().startswith("try"))
    command = line.partition("try")[2].strip()
    assert '-H "Authorization: Bearer $KEY"' in command
    shell = ["bash", "-c", f"KEY={WRONG}; {command}"]
    done = subprocess.run(shell, capture_output=True, timeout=DEADLINE_S, check=True)
    assert b'"response"' in done.stdout
    server.stop()


# ------------------------------------------------------------------ how far up


ABOVE: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("priority", {"priority": 1.5}, {}),
    ("priority", {"priority": "urgent"}, {"X-Priority": "0"}),
    ("X-Priority", {}, {"X-Priority": "urgent"}),
    ("service_tier", {"service_tier": "priority"}, {}),
]
"""Ways to ask for too much: the place that is blamed, parameters, headers."""


@pytest.mark.parametrize(("param", "params", "headers"), ABOVE[:-1])
def test_a_priority_above_the_highest(
    front: httpx.Client,
    dialect: Dialect,
    param: str,
    params: dict[str, Any],
    headers: dict[str, str],
) -> None:
    body, headers = dialect.body(**params), bearer("app") | headers
    failure = dialect.refusal(front.post(dialect.path, json=body, headers=headers))
    assert (failure.status, failure.code) == (403, "priority_not_allowed")
    assert failure.param == param
    assert "1 at most" in failure.message


@pytest.mark.parametrize(("param", "params", "headers"), ABOVE)
def test_a_stream_above_the_highest(
    front: httpx.Client,
    streaming: Dialect,
    param: str,
    params: dict[str, Any],
    headers: dict[str, str],
) -> None:
    body, headers = streaming.body(stream=True, **params), bearer("app") | headers
    failure = streaming.refusal(front.post(streaming.path, json=body, headers=headers))
    assert (failure.status, failure.param) == (403, param)


def test_priorities_up_to_the_highest(answering: httpx.Client, dialect: Dialect) -> None:
    for priority, echoed in (("normal", "1"), (1, "1"), (0.5, "0.5"), (-5, "-5")):
        answer = dialect.ask(answering, headers=bearer("app"), priority=priority, **SHORT)
        assert answer.headers["x-priority"] == echoed
    answer = dialect.ask(answering, headers=bearer("default"), priority=10**6, **SHORT)
    assert answer.headers["x-priority"] == "1000000"


def test_who_asks_for_no_priority_gets_what_is_allowed(
    answering: httpx.Client, dialect: Dialect
) -> None:
    assert dialect.ask(answering, headers=bearer("batch"), **SHORT).headers["x-priority"] == "0"
    assert dialect.ask(answering, headers=bearer("app"), **SHORT).headers["x-priority"] == "1"


# ------------------------------------------------------------------ how often


def test_requests_per_minute(http: httpx.Client) -> None:
    """A burst, a refusal that says for how long, and service again after that."""
    remaining = []
    for _ in range(1000):
        response = http.post(INFER.path, json=INFER.body(**SHORT), headers=bearer("few"))
        assert response.headers["x-ratelimit-limit-requests"] == "30"
        assert "x-ratelimit-limit-tokens" not in response.headers
        remaining.append(int(response.headers["x-ratelimit-remaining-requests"]))
        if response.status_code != 200:
            break
    assert remaining[0] >= 29
    assert remaining[-1] == 0
    assert len(remaining) > 30
    failure = INFER.refusal(response)
    assert (failure.status, failure.code, failure.param) == (429, "rate_limit_exceeded", None)
    wait = int(response.headers["retry-after"])
    assert 1 <= wait <= 2
    # Others are not held up by it, and the key itself not in anything but generations.
    INFER.ask(http, headers=bearer("app"), **SHORT)
    assert http.get("/v1/models", headers=bearer("few")).status_code == 200
    time.sleep(wait)
    INFER.ask(http, headers=bearer("few"), **SHORT)


def test_tokens_per_minute(http: httpx.Client) -> None:
    """Once it has used more than it may, even the smallest request must wait."""
    long = CHAT.body(max_tokens=300, ignore_eos=True)
    first = http.post(CHAT.path, json=long, headers=bearer("tokens"))
    assert first.status_code == 200
    assert first.headers["x-ratelimit-limit-tokens"] == "60"
    assert first.headers["x-ratelimit-remaining-tokens"] == "0"
    for stream in (False, True):
        body = CHAT.body(max_tokens=1, stream=stream)
        response = http.post(CHAT.path, json=body, headers=bearer("tokens"))
        failure = CHAT.refusal(response)
        assert (failure.status, failure.code) == (429, "rate_limit_exceeded")
        assert response.json()["error"]["type"] == "tokens"
        # 240 tokens and the prompt's at one a second, less what has passed since.
        assert 1 <= int(response.headers["retry-after"]) <= 300


def test_keys_without_limits_have_no_such_headers(
    answering: httpx.Client, dialect: Dialect
) -> None:
    headers = dialect.ask(answering, headers=bearer("app"), **SHORT).headers
    assert not [name for name in headers if name.startswith("x-ratelimit")]


def test_secrets_in_odd_places_are_not_logged(keyed: ForgeServer, http: httpx.Client) -> None:
    """The fixture reads the whole log at its end."""
    url = httpx.URL(keyed.url)
    assert url.port is not None
    for head in (
        f"{WRONG}\r\n\r\n",
        f"GET /{WRONG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRONG}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization {SECRETS['app']}\r\n\r\n",
    ):
        with closing(socket.create_connection((url.host, url.port), DEADLINE_S)) as wire:
            wire.sendall(head.encode())
            assert wire.recv(65536).startswith(b"HTTP/1.1 4")
    body = json.dumps({"query": 5, "key": WRONG})
    assert http.post("/infer", content=body, headers=bearer("app")).status_code == 400
