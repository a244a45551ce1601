"""The clients that are told apart, each with a say of its own in how long a model stays."""

from typing import Any

import pytest
from starlette.requests import Request

from gateway.api.client import client_of
from gateway.config.api_keys import digest
from gateway.core.api_key import ANYONE, ApiKey

APP = {"user-agent": "app/1.0"}


def request(
    headers: dict[str, str], host: str | None = "127.0.0.1", key: ApiKey = ANYONE, port: int = 5000
) -> Request:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    client = None if host is None else (host, port)
    scope: dict[str, Any] = {"type": "http", "headers": raw, "client": client}
    return Request({**scope, "state": {"key": key}})


def test_a_program_that_is_started_anew_is_the_same() -> None:
    assert client_of(request(APP)) == client_of(request(APP, port=5001))


@pytest.mark.parametrize(
    "other",
    [
        request({}),
        request({"user-agent": "app/2.0"}),
        request(APP, "10.0.0.1"),
        request(APP, None),
        request({**APP, "origin": "http://localhost:3000"}),
        request({**APP, "x-forwarded-for": "10.0.0.7"}),
        request({"origin": "app/1.0"}),
    ],
)
def test_others_are_others(other: Request) -> None:
    assert client_of(request(APP)) != client_of(other)


def test_with_keys_it_is_the_key() -> None:
    key = ApiKey("app", digest("sk"))
    assert client_of(request(APP, key=key)) == client_of(request({}, "10.0.0.1", key)) == "app"


def test_a_long_header_leaves_a_short_name() -> None:
    long = client_of(request({"user-agent": "\xff" * 65536}))
    assert len(long) == len(client_of(request({}))) == 32
