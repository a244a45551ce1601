"""Rights to use models, and to change which there are: keys, origins, admins."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.support.dialects import DIALECTS, Dialect
from tests.support.front import blocking_front
from tests.support.server import ALIAS

HERE = "127.0.0.1:8080"
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/pull", {"model": ALIAS, "stream": False}),
    ("DELETE", "/api/delete", {"model": ALIAS}),
    ("POST", "/api/copy", {"source": ALIAS, "destination": "copied"}),
]
KEYS = [
    ApiKey("root", digest("sk-root"), admin=True),
    ApiKey("app", digest("sk-app")),
    ApiKey("limited", digest("sk-limited"), models=("other", "hf:*")),
    ApiKey("own", digest("sk-own"), models=("forge-*",)),
    ApiKey("slow", digest("sk-slow"), requests_per_minute=1),
    ApiKey("other-root", digest("sk-other-root"), admin=True, models=("other",)),
]


@pytest.fixture(scope="module", autouse=True)
def own_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Names that are copied here are nothing to other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def keyed() -> Iterator[httpx.Client]:
    with blocking_front(Config(alias=ALIAS), Keyring(KEYS), answers=True) as client:
        yield client


@pytest.fixture(scope="module")
def unkeyed() -> Iterator[httpx.Client]:
    with blocking_front(Config(alias=ALIAS), answers=True) as client:
        yield client


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer sk-{name}"}


def refused(response: httpx.Response, status: int, code: str) -> str:
    """The text of an error in Ollama's shape."""
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    text: str = response.json()["error"]
    assert text
    return text


# ------------------------------------------------------------------ changes


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_changes_are_for_admins(
    keyed: httpx.Client, method: str, path: str, body: dict[str, Any]
) -> None:
    text = refused(keyed.request(method, path, json=body, headers=bearer("app")), 403, "admin_only")
    assert "admin = true" in text
    refused(keyed.request(method, path, json=body), 401, "invalid_api_key")
    answer = keyed.request(method, path, json=body, headers=bearer("root"))
    if method == "DELETE":
        refused(answer, 403, "files_not_owned")
    else:
        assert answer.status_code == 200, answer.text


def test_an_admins_names_are_those_of_its_models(keyed: httpx.Client) -> None:
    """A name that leads to another model is neither deleted nor given away."""
    name = {"source": ALIAS, "destination": "kept"}
    assert keyed.post("/api/copy", json=name, headers=bearer("root")).status_code == 200
    gone = keyed.request(
        "DELETE", "/api/delete", json={"model": "kept"}, headers=bearer("other-root")
    )
    refused(gone, 404, "model_not_found")
    again = keyed.post("/api/copy", json=name, headers=bearer("other-root"))
    refused(again, 404, "model_not_found")
    answer = keyed.request("DELETE", "/api/delete", json={"model": "kept"}, headers=bearer("root"))
    assert answer.status_code == 200


@pytest.mark.parametrize("host", [HERE, "localhost:11434", "[::1]:8080", "127.0.0.1"])
def test_without_keys_they_are_for_this_machine(unkeyed: httpx.Client, host: str) -> None:
    body = {"model": ALIAS, "stream": False}
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for headers in ({"Host": host}, own, {"Host": host, "Sec-Fetch-Site": "none"}):
        assert unkeyed.post("/api/pull", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "forge.example"},
        {"Host": "127.0.0.1.evil.example:8080"},
        {"Host": "localhost.evil.example"},
        {"Host": ""},
        {"Host": HERE, "Origin": "https://evil.example"},
        {"Host": HERE, "Origin": "http://127.0.0.1:3000"},
        {"Host": HERE, "Origin": "null"},
        {"Host": HERE, "Sec-Fetch-Site": "cross-site"},
        {"Host": HERE, "Sec-Fetch-Site": "same-site"},
        {"Host": HERE, "X-Forwarded-For": "10.0.0.1"},
        {"Host": HERE, "Forwarded": "for=10.0.0.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_no_other_page_and_no_other_machine(
    unkeyed: httpx.Client, headers: dict[str, str], method: str, path: str, body: dict[str, Any]
) -> None:
    """A name that was made to lead here, a page of another port, a proxy: none is this machine."""
    refused(unkeyed.request(method, path, json=body, headers=headers), 403, "admin_only")


@pytest.mark.parametrize("path", ["/models/load", "/models/unload"])
def test_any_key_loads_for_one_version_more(
    keyed: httpx.Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    status = 200 if path == "/models/load" else 409
    with caplog.at_level(logging.WARNING, "forge.models"):
        answer = keyed.post(path, json={"model": ALIAS}, headers=bearer("root"))
        assert answer.status_code == status
        assert "warning" not in answer.headers
        assert not caplog.records
        answer = keyed.post(path, json={"model": ALIAS}, headers=bearer("app"))
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["warning"].startswith('299 - "the next version')
        assert "'app' has used /models/load" in caplog.text


def test_a_load_is_a_request_of_its_key(keyed: httpx.Client) -> None:
    """Others' models leave for it: a limited key must not cause that as often as it likes."""
    body = {"model": ALIAS, "messages": []}
    assert keyed.post("/api/chat", json=body, headers=bearer("slow")).status_code == 200
    again = keyed.post("/api/chat", json=body, headers=bearer("slow"))
    refused(again, 429, "rate_limit_exceeded")
    assert int(again.headers["retry-after"]) > 0
    leave = {**body, "keep_alive": 0}
    assert keyed.post("/api/chat", json=leave, headers=bearer("slow")).status_code == 200


# ------------------------------------------------------------------ models of a key


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_other_models_are_not_there_for_a_key(keyed: httpx.Client, dialect: Dialect) -> None:
    """Named or first: no answer tells it from a model that does not exist."""
    for more in ({"model": ALIAS}, {}, {"model": "nothing"}):
        body = dialect.body(max_tokens=1, **more)
        response = keyed.post(dialect.path, json=body, headers=bearer("limited"))
        failure = dialect.refusal(response)
        assert (failure.status, failure.code) == (404, "model_not_found")
        assert ALIAS not in failure.message.replace(f"'{more.get('model')}'", "")
    for name in ("own", "app", "root"):
        answer = dialect.ask(keyed, headers=bearer(name), max_tokens=1, model=ALIAS)
        assert answer.body["model"] == ALIAS


ASKED: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/v1/embeddings", {"model": ALIAS, "input": "a"}),
    ("POST", "/tokenize", {"model": ALIAS, "content": "a"}),
    ("POST", "/apply-template", {"model": ALIAS, "messages": [{"role": "user", "content": "a"}]}),
    ("POST", "/v1/responses/input_tokens", {"model": ALIAS, "input": "a"}),
    ("POST", "/models/load", {"model": ALIAS}),
    ("GET", f"/v1/models/{ALIAS}", None),
    ("POST", "/api/show", {"model": ALIAS}),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKED)
def test_other_models_are_nowhere(
    keyed: httpx.Client, method: str, path: str, body: dict[str, Any] | None
) -> None:
    response = keyed.request(method, path, json=body, headers=bearer("limited"))
    assert response.status_code == 404, response.text
    assert "model_not_found" in response.text


def test_other_models_are_not_counted(keyed: httpx.Client) -> None:
    """Sums over all models stay."""
    for name, there in (("limited", False), ("own", True), ("app", True)):
        headers = {**bearer(name), "Accept": "text/plain"}
        text = keyed.get("/metrics", headers=headers).text
        assert (f'model="{ALIAS}"' in text) == there, name
        assert ALIAS in text or not there
        assert "\nforge_requests_waiting 0.0\n" in text
        assert "\nforge_error_responses_total{" in text


def test_an_admin_is_told_of_no_other_models(keyed: httpx.Client) -> None:
    """A name that is here is as unknown as any other, if the key may not use its model."""
    body = {"model": ALIAS, "stream": False}
    for name, status in (("root", 200), ("other-root", 404)):
        assert keyed.post("/api/pull", json=body, headers=bearer(name)).status_code == status


def test_other_models_are_not_listed(keyed: httpx.Client) -> None:
    lists: dict[str, Callable[[Any], list[str]]] = {
        "/v1/models": lambda body: [each["id"] for each in body["data"]],
        "/api/tags": lambda body: [each["name"] for each in body["models"]],
        "/api/ps": lambda body: [each["name"] for each in body["models"]],
        "/workers": lambda body: [each["model"] for each in body],
        "/queue": lambda body: list(body["by_model"]),
    }
    for path, names in lists.items():
        assert names(keyed.get(path, headers=bearer("limited")).json()) == [], path
        if path != "/workers":  # the pool in memory has none to show
            assert names(keyed.get(path, headers=bearer("own")).json()), path
