"""Addresses that lead to the machine itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.loopback import is_loopback, is_this_machine

LOOPBACK = ["127.0.0.1", "127.1.2.3", "127.255.255.254", "::1", "::ffff:127.0.0.1"]
ELSEWHERE = [
    *("192.0.2.1", "10.0.0.1", "128.0.0.1", "126.255.255.255", "1.127.0.0", "::2", "fe80::1"),
    *("::ffff:10.0.0.1", "example.com", "localhost.example.com", "notlocalhost", "", ".", "1"),
    *("127.0.0.1.example.com", "127.0.0.1.2", "2130706433.5", "::127.0.0.1", "[::1]"),
]


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback(address: str) -> None:
    assert is_loopback(address)
    assert is_this_machine(address)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "app.localhost", "0.0.0.0", "::", "127.1"),
        *("127.0.1", "0", "0.0", "::ffff:0.0.0.0"),
    ],
)
def test_names_and_addresses_that_lead_here(host: str) -> None:
    assert is_this_machine(host)
    assert not is_loopback(host), "no client's address"


@pytest.mark.parametrize("host", ELSEWHERE)
def test_elsewhere(host: str) -> None:
    assert not is_loopback(host)
    assert not is_this_machine(host)


@given(st.text())
def test_any_text(host: str) -> None:
    assert isinstance(is_this_machine(host), bool)
