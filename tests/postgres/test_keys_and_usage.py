"""Real servers on one PostgreSQL: keys of one are keys of the other, and budgets are shared."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.e2e.test_usage import ask, bearer, keys, usage
from tests.support.postgres import PostgresServer, needs_postgres
from tests.support.server import ForgeServer, eventually

pytestmark = [
    needs_postgres,
    pytest.mark.timeout(300),  # seconds on an idle machine, minutes beside other work
]

ONE = ("--workers", "1", "--slots", "2")


def change(server: ForgeServer, root: str, method: str, path: str, **body: Any) -> dict[str, Any]:
    answer = httpx.request(method, server.url + path, json=body or None, headers=bearer(root))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_two_servers_share_keys_budgets_and_usage(
    start_server: Start, postgres: PostgresServer
) -> None:
    url = postgres.database()
    root = keys("add", "root", "--admin", "--close", "--database", url)
    assert len(json.loads(keys("list", "--json", "--database", url))) == 1
    first, second = [start_server(*ONE, env={"FORGE_DATABASE": url}, key=root) for _ in range(2)]
    app = change(first, root, "POST", "/keys", name="app", tokens_per_day=150)["key"]
    eventually(lambda: ask(second, app).status_code == 200, "the second knows the new key")
    # What the one uses counts at the other, too.
    answer = ask(first, app, 200)
    assert answer.status_code == 200
    eventually(lambda: ask(second, app, 1).status_code == 429, "the second hears of it")
    assert ask(first, app, 1).status_code == 429
    change(second, root, "PATCH", "/keys/app", tokens_per_day=100_000)
    eventually(lambda: ask(first, app, 1).status_code == 200, "the first hears of the limit")

    def told(server: ForgeServer) -> tuple[int, int]:
        rows = [row for row in usage(server, root) if row["key"] == "app"]
        return sum(r["requests"] for r in rows), sum(r["output_tokens"] for r in rows)

    eventually(lambda: told(first) == told(second), "both tell the same")
    newer = change(first, root, "POST", "/keys/app/rotate")["key"]
    eventually(lambda: ask(second, app).status_code == 401, "the old secret ends there, too")
    assert ask(second, newer).status_code == 200
    change(second, root, "DELETE", "/keys/app")
    assert ask(second, newer).status_code == 401
    eventually(lambda: ask(first, newer).status_code == 401, "the first hears of the end")
    first.stop()
    second.stop()


def test_open_servers_are_closed_by_the_first_key(
    start_server: Start, postgres: PostgresServer
) -> None:
    url = postgres.database()
    server = start_server(*ONE, env={"FORGE_DATABASE": url})
    assert httpx.get(f"{server.url}/v1/models").status_code == 200
    root = keys("add", "root", "--admin", "--close", "--database", url)
    models = f"{server.url}/v1/models"
    eventually(lambda: httpx.get(models).status_code == 401, "it needs a key now")
    assert httpx.get(models, headers=bearer(root)).status_code == 200
    keys("revoke", "root", "--database", url)
    eventually(lambda: httpx.get(models, headers=bearer(root)).status_code == 401, "none is left")
    assert httpx.get(models).status_code == 401, "and it does not open"
