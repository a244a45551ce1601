"""GET /usage: what is told of each key and model, by hours and days, to admins alone."""

from collections.abc import Iterator
from datetime import UTC, datetime
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
from tests.support.stored_files import SetClock

MORNING = datetime(2026, 11, 30, 8, 30, tzinfo=UTC).timestamp()
HOUR, DAY = 3600, 86400
KEYS = [ApiKey("root", digest("sk-root"), admin=True), ApiKey("app", digest("sk-app"))]
ADMIN, APP = ({"Authorization": f"Bearer sk-{name}"} for name in ("root", "app"))


@pytest.fixture
def clock() -> SetClock:
    return SetClock(MORNING)


@pytest.fixture(params=["stored", "in memory"])
def client(
    request: pytest.FixtureRequest, clock: SetClock, tmp_path: Path
) -> Iterator[httpx.Client]:
    folder = tmp_path / "data" if request.param == "stored" else None
    config = Config(alias=ALIAS, data_dir=folder)
    with blocking_front(config, Keyring(KEYS), answers=True, clock=clock) as client:
        yield client


def usage(client: httpx.Client, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = check("/usage", client.get("/usage", params=query, headers=ADMIN))
    return found


def test_every_dialect_counts(client: httpx.Client, dialect: Dialect) -> None:
    answer = dialect.ask(client, headers=APP, max_tokens=2)
    (row,) = usage(client)["data"]
    told = answer.usage
    assert row == {
        "start": MORNING // DAY * DAY,
        "key": "app",
        "model": ALIAS,
        "requests": 1,
        "prompt_tokens": told["prompt_tokens"],
        "cached_tokens": row["cached_tokens"],
        "output_tokens": told["completion_tokens"],
    }
    assert 0 <= row["cached_tokens"] <= row["prompt_tokens"]


def test_hours_days_and_keys(client: httpx.Client, clock: SetClock) -> None:
    for _ in range(2):
        CHAT.ask(client, headers=APP, max_tokens=2)
    clock.now += HOUR
    CHAT.ask(client, headers=ADMIN, max_tokens=2)
    clock.now += DAY
    CHAT.ask(client, headers=APP, max_tokens=2)
    rows = [(each["start"], each["key"], each["requests"]) for each in usage(client)["data"]]
    first, second = MORNING // DAY * DAY, MORNING // DAY * DAY + DAY
    assert rows == [(second, "app", 1), (first, "app", 2), (first, "root", 1)]
    hours = usage(client, by="hour", since="2026-11-30")
    at = [(each["start"] % DAY // HOUR, each["key"]) for each in hours["data"]]
    assert at == [(9, "app"), (9, "root"), (8, "app")]
    only = usage(client, key="app", since="2026-11-30", until="2026-11-30T09:00", by="hour")
    assert [each["requests"] for each in only["data"]] == [2]
    assert (only["until"] - only["since"]) % HOUR in (0, HOUR - 1800)
    assert usage(client, model="another")["data"] == []
    page = usage(client, limit=1)
    assert (len(page["data"]), page["has_more"]) == (1, True)
    # Two hours of the day are asked for, and whole days are told.
    part = usage(client, since="2026-11-30T23:00", until="2026-11-30T23:30")
    assert [each["requests"] for each in part["data"]] == [2, 1]


def test_it_says_where_it_is_counted(client: httpx.Client, request: pytest.FixtureRequest) -> None:
    found = usage(client)
    assert found["stored"] is ("stored" in request.node.name)
    assert found["stored"] or found["since"] == MORNING


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"by": "week"}, "by"),
        ({"since": "yesterday"}, "since"),
        ({"until": "-1"}, "until"),
        ({"since": "2026-12-01", "until": "2026-12-01"}, "since"),
        ({"limit": 0}, "limit"),
        ({"limit": 100000}, "limit"),
    ],
)
def test_bad_queries(query: dict[str, Any], param: str) -> None:
    with blocking_front(Config(alias=ALIAS)) as client:
        client.headers["Host"] = "localhost"
        answer = client.get("/usage", params=query)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param


def test_requests_without_a_key_have_none() -> None:
    with blocking_front(Config(alias=ALIAS), answers=True) as client:
        client.headers["Host"] = "localhost"
        CHAT.ask(client, max_tokens=2)
        (row,) = check("/usage", client.get("/usage"))["data"]
        assert row["key"] is None


def test_it_can_be_off() -> None:
    with blocking_front(Config(alias=ALIAS, usage_days=0)) as client:
        client.headers["Host"] = "localhost"
        answer = client.get("/usage")
        assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_offered")
