"""Keys that come, change and go while the server runs, as an admin and as others see it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config.api_keys import Keyring, digest
from gateway.config.config import Config
from gateway.core.api_key import ApiKey
from tests.contract.test_openapi import check
from tests.support.dialects import CHAT, Dialect
from tests.support.front import blocking_front
from tests.support.server import ALIAS

ADMIN = {"Authorization": "Bearer sk-root"}
APP = {"Authorization": "Bearer sk-app"}
KEYS = [
    ApiKey("root", digest("sk-root"), admin=True),
    ApiKey("app", digest("sk-app"), tokens_per_day=500),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "data"


@pytest.fixture(scope="module")
def keyed(folder: Path) -> Iterator[httpx.Client]:
    config = Config(alias=ALIAS, data_dir=folder)
    with blocking_front(config, Keyring(KEYS), answers=True) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def add(client: httpx.Client, name: str, **rights: Any) -> str:
    answer = client.post("/keys", json={"name": name, **rights}, headers=ADMIN)
    secret: str = check("/keys", answer)["key"]
    return secret


def listed(client: httpx.Client) -> dict[str, dict[str, Any]]:
    answer = check("/keys", client.get("/keys", headers=ADMIN))
    return {each["name"]: each for each in answer["data"]}


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def test_a_key_from_its_first_request_to_its_last(keyed: httpx.Client, dialect: Dialect) -> None:
    name = f"for {dialect}"
    secret = add(keyed, name, requests_per_minute=1)
    assert secret.startswith("forge-sk-")
    answer = dialect.ask(keyed, headers=bearer(secret), max_tokens=1)
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    failure = dialect.refusal(ask(keyed, dialect, secret))
    assert (failure.status, failure.code) == (429, "rate_limit_exceeded")
    change = keyed.patch(f"/keys/{name}", json={"requests_per_minute": None}, headers=ADMIN)
    assert check("/keys/{name}", change)["requests_per_minute"] is None
    dialect.ask(keyed, headers=bearer(secret), max_tokens=1)
    rotated = check("/keys/{name}/rotate", keyed.post(f"/keys/{name}/rotate", headers=ADMIN))
    failure = dialect.refusal(ask(keyed, dialect, secret))
    assert (failure.status, failure.code) == (401, "invalid_api_key")
    dialect.ask(keyed, headers=bearer(rotated["key"]), max_tokens=1)
    gone = check("/keys/{name}", keyed.delete(f"/keys/{name}", headers=ADMIN))
    assert gone == {"object": "key", "name": name, "deleted": True, "ended": 0}
    assert dialect.refusal(ask(keyed, dialect, rotated["key"])).status == 401
    assert name not in listed(keyed)


def ask(client: httpx.Client, dialect: Dialect, secret: str) -> httpx.Response:
    return client.post(dialect.path, json=dialect.body(max_tokens=1), headers=bearer(secret))


def test_secrets_are_told_once_and_stored_as_hashes(keyed: httpx.Client, folder: Path) -> None:
    secret = add(keyed, "hidden", admin=True, tokens_per_month=7)
    told = keyed.get("/keys", headers=ADMIN).text
    for file in folder.rglob("*"):
        assert file.is_dir() or secret.encode() not in file.read_bytes()
    for each in (secret, digest(secret).hex(), "sk-root", digest("sk-root").hex()):
        assert each not in told
    with closing(sqlite3.connect(folder / "forge.db")) as database:
        (row,) = database.execute("SELECT digest, rights FROM keys WHERE name = 'hidden'")
    assert row == (digest(secret), b'{"tokens_per_month":7,"admin":true}')
    keyed.delete("/keys/hidden", headers=ADMIN)


def test_all_keys_are_listed(keyed: httpx.Client) -> None:
    add(keyed, "new", tokens_per_day=10, models=["tiny*"], max_priority="normal", weight=2.5)
    CHAT.ask(keyed, headers=APP, max_tokens=2)
    found = listed(keyed)
    app, new = found["app"], found["new"]
    assert (app["source"], app["created_at"], app["tokens_per_day"]) == ("operator", None, 500)
    assert app["used_today"] == app["used_this_month"] > 0
    assert new == {
        **new, "source": "store", "active": True, "admin": False, "tokens_per_day": 10,
        "models": ["tiny*"], "max_priority": 1.0, "weight": 2.5, "used_today": 0,
    }  # fmt: skip
    assert found["root"]["used_today"] is None
    keyed.delete("/keys/new", headers=ADMIN)


def test_a_first_budget_counts_what_was_used_before(keyed: httpx.Client) -> None:
    secret = add(keyed, "late")
    CHAT.ask(keyed, headers=bearer(secret), max_tokens=2)
    change = keyed.patch("/keys/late", json={"tokens_per_day": 2}, headers=ADMIN)
    assert check("/keys/{name}", change)["used_today"] > 2
    assert refused(ask(keyed, CHAT, secret))[:2] == (429, "insufficient_quota")
    keyed.delete("/keys/late", headers=ADMIN)


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/keys", {}, (400, "invalid_request", "name")),
        ("POST", "/keys", {"name": ""}, (400, "invalid_request", "name")),
        ("POST", "/keys", {"name": "a/b"}, (400, "invalid_request", "name")),
        ("POST", "/keys", {"name": " a"}, (400, "invalid_request", "name")),
        ("POST", "/keys", {"name": "ä"}, (400, "invalid_request", "name")),
        ("POST", "/keys", {"name": "x" * 65}, (400, "invalid_request", "name")),
        ("POST", "/keys", {"name": "a", "key": "mine"}, (400, "unknown_parameter", "key")),
        ("POST", "/keys", {"name": "a", "token_per_day": 1}, (400, "unknown_parameter", None)),
        ("POST", "/keys", {"name": "a", "tokens_per_day": 0}, (400, "invalid_request", None)),
        ("POST", "/keys", {"name": "a", "tokens_per_day": "x"}, (400, "invalid_request", None)),
        ("POST", "/keys", {"name": "a", "max_priority": "x"}, (400, "invalid_request", None)),
        ("POST", "/keys", {"name": "a", "weight": None}, (400, "invalid_request", "weight")),
        ("POST", "/keys", {"name": "app"}, (409, "key_of_operator", "name")),
        ("PATCH", "/keys/app", {"weight": 2.0}, (409, "key_of_operator", "name")),
        ("POST", "/keys/app/rotate", None, (409, "key_of_operator", "name")),
        ("DELETE", "/keys/app", None, (409, "key_of_operator", "name")),
        ("PATCH", "/keys/nobody", {"weight": 2.0}, (404, "not_found", "name")),
        ("POST", "/keys/nobody/rotate", None, (404, "not_found", "name")),
        ("DELETE", "/keys/nobody", None, (404, "not_found", "name")),
        ("DELETE", "/keys/nobody?now=maybe", None, (400, "invalid_request", "now")),
        ("PATCH", "/keys/nobody", {"wait": 2.0}, (400, "unknown_parameter", "wait")),
    ],
)
def test_bad_changes(
    keyed: httpx.Client,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    expected: tuple[int, str, str | None],
) -> None:
    before = listed(keyed)
    found = refused(keyed.request(method, path, json=body, headers=ADMIN))
    param = expected[2] or next(name for name in reversed(body or {}))
    assert found == (*expected[:2], param)
    for each in before.values():
        each.pop("used_today"), each.pop("used_this_month")
    after = listed(keyed)
    assert {name: {**after[name], **each} for name, each in before.items()} == after


def test_a_name_is_taken_once(keyed: httpx.Client) -> None:
    add(keyed, "twice")
    again = keyed.post("/keys", json={"name": "twice"}, headers=ADMIN)
    assert refused(again) == (409, "key_exists", "name")
    keyed.delete("/keys/twice", headers=ADMIN)


def test_what_a_key_has_left_is_no_other_users(keyed: httpx.Client) -> None:
    """Whoever gets its name does not find it, unless the admin says that it is for them."""
    first = add(keyed, "leaver")
    file = {"file": ("in.jsonl", b"{}")}
    form = {"purpose": "user_data"}
    kept = keyed.post("/v1/files", data=form, files=file, headers=bearer(first)).json()["id"]
    keyed.delete("/keys/leaver", headers=ADMIN)
    again = keyed.post("/keys", json={"name": "leaver"}, headers=ADMIN)
    assert refused(again) == (409, "key_leftovers", "name")
    assert "has left 1 file," in again.json()["error"]["message"]
    assert "leaver" not in listed(keyed)
    wrong = keyed.post("/keys", json={"name": "leaver", "adopt": 1}, headers=ADMIN)
    assert refused(wrong)[::2] == (400, "adopt")
    second = add(keyed, "leaver", adopt=True)
    found = keyed.get("/v1/files", headers=bearer(second)).json()["data"]
    assert [each["id"] for each in found] == [kept]
    keyed.delete(f"/v1/files/{kept}", headers=bearer(second))
    keyed.delete("/keys/leaver", headers=ADMIN)
    add(keyed, "leaver")
    keyed.delete("/keys/leaver", headers=ADMIN)


ALL = [
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("PATCH", "/keys/app"),
    ("POST", "/keys/app/rotate"),
    ("DELETE", "/keys/app"),
    ("GET", "/usage"),
]


@pytest.mark.parametrize(("method", "path"), ALL)
def test_only_admins_may(keyed: httpx.Client, method: str, path: str) -> None:
    answer = keyed.request(method, path, json={"name": "a"}, headers=APP)
    assert refused(answer) == (403, "admin_only", None)
    assert keyed.request(method, path, json={"name": "a"}).status_code == 401


def test_without_an_admin_no_key_is_added_by_a_server(tmp_path: Path) -> None:
    """Its operator adds the first one to the store itself."""
    config = Config(alias=ALIAS, data_dir=tmp_path / "data")
    with blocking_front(config, Keyring([KEYS[1]]), answers=True) as client:
        body = {"name": "a", "admin": True, "close": True}
        assert refused(client.post("/keys", json=body, headers=APP)) == (403, "admin_only", None)


def test_an_open_server_is_closed_only_on_purpose(tmp_path: Path) -> None:
    config = Config(alias=ALIAS, data_dir=tmp_path / "data")
    with blocking_front(config, answers=True) as client:
        client.headers["Host"] = "localhost"
        assert check("/keys", client.get("/keys")) == {"object": "list", "data": [], "open": True}
        first = {"name": "root", "admin": True}
        assert refused(client.post("/keys", json=first)) == (409, "server_is_open", "close")
        plain = {"name": "root", "close": True}
        assert refused(client.post("/keys", json=plain)) == (400, "invalid_request", "admin")
        CHAT.ask(client, max_tokens=1)
        assert client.get("/openapi.json").json().get("security") is None
        root = bearer(client.post("/keys", json={**first, "close": True}).json()["key"])
        assert client.get("/keys").status_code == 401
        assert client.get("/openapi.json").json().get("security") is not None
        assert client.post(CHAT.path, json=CHAT.body()).status_code == 401
        CHAT.ask(client, headers=root, max_tokens=1)
        # The last admin neither goes nor stops being one.
        last = (409, "last_admin", None)
        assert refused(client.delete("/keys/root", headers=root)) == last
        change = client.patch("/keys/root", json={"admin": False}, headers=root)
        assert refused(change) == last
        other = client.post("/keys", json={"name": "other", "admin": True}, headers=root).json()
        assert client.delete("/keys/root", headers=root).status_code == 200
        assert client.get("/keys", headers=root).status_code == 401
        assert client.get("/keys", headers=bearer(other["key"])).status_code == 200
    # A restart without any option that names keys: the store's still count.
    with blocking_front(config, answers=True) as client:
        assert client.get("/keys").status_code == 401
        assert client.get("/keys", headers=bearer(other["key"])).status_code == 200


def test_other_machines_do_not_close_an_open_server(tmp_path: Path) -> None:
    config = Config(alias=ALIAS, data_dir=tmp_path / "data")
    with blocking_front(config) as client:
        for method, path in ALL:
            # Behind a proxy a client may be from anywhere.
            headers = {"X-Forwarded-For": "203.0.113.7"}
            body = {"name": "a", "admin": True, "close": True}
            answer = client.request(method, path, json=body, headers=headers)
            assert refused(answer) == (403, "admin_only", None)


def test_without_a_store_there_is_no_place_for_keys() -> None:
    with blocking_front(Config(alias=ALIAS), Keyring(KEYS)) as client:
        answer = client.post("/keys", json={"name": "a"}, headers=ADMIN)
        assert refused(answer) == (404, "store_off", None)
        assert "--data-dir" in answer.json()["error"]["message"]
        assert set(listed(client)) == {"root", "app"}


def test_the_operators_key_wins(tmp_path: Path) -> None:
    config = Config(alias=ALIAS, data_dir=tmp_path / "data")
    with blocking_front(config, Keyring(KEYS), answers=True) as client:
        secret = add(client, "both")
    keys = [*KEYS, ApiKey("both", digest("sk-both"))]
    with blocking_front(config, Keyring(keys), answers=True) as client:
        assert ask(client, CHAT, secret).status_code == 401
        assert ask(client, CHAT, "sk-both").status_code == 200
        found = [
            (each["source"], each["active"])
            for each in client.get("/keys", headers=ADMIN).json()["data"]
            if each["name"] == "both"
        ]
        assert found == [("operator", True), ("store", False)]
        assert client.delete("/keys/both", headers=ADMIN).status_code == 200
        assert ask(client, CHAT, "sk-both").status_code == 200
