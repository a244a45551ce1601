"""The order of a flood, and who may ask for one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from gateway.api.local import from_here
from gateway.dashboard.flood import mixed


@given(st.fixed_dictionaries({kind: st.integers(0, 9) for kind in ("batch", "normal", "urgent")}))
def test_classes_by_turns(numbers: dict[str, int]) -> None:
    found = list(mixed(numbers))
    assert Counter(found) == Counter(numbers)
    rounds = min(numbers.values())
    assert found[: 3 * rounds] == list(numbers) * rounds


def asked(client: str | None, **headers: str) -> bool:
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    address = None if client is None else (client, 5000)
    return from_here(Request({"type": "http", "client": address, "headers": named}))


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:80", "localhost", "[::1]:8080"])
def test_from_this_machine(client: str, host: str) -> None:
    assert asked(client, host=host)
    assert asked(client, host=host, origin=f"http://{host}")


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        (None, {"host": "localhost"}),
        ("10.0.0.7", {"host": "localhost"}),
        ("::ffff:10.0.0.7", {"host": "localhost"}),
        ("nobody", {"host": "localhost"}),
        ("127.0.0.1", {"host": "forge.example"}),
        ("127.0.0.1", {"host": "127.0.0.1.example:80"}),
        ("127.0.0.1", {}),
        ("127.0.0.1", {"host": "localhost:80", "origin": "http://evil.example"}),
        ("127.0.0.1", {"host": "localhost:80", "origin": "http://localhost:81"}),
        ("127.0.0.1", {"host": "localhost:80", "origin": "null"}),
        ("127.0.0.1", {"host": "localhost", "x_forwarded_for": "10.0.0.7"}),
        ("127.0.0.1", {"host": "localhost", "forwarded": "for=10.0.0.7"}),
    ],
)
def test_from_elsewhere_or_by_somebody_elses_page(
    client: str | None, headers: dict[str, str]
) -> None:
    assert not asked(client, **headers)
