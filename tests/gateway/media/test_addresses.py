"""Addresses that are connected to for a client: those of the internet alone."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.media.addresses import public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.192",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "168.63.129.16",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2001::1", "2001:db8::1", "::127.0.0.1", "100::1", "fec0::1",
        "localhost", "", "2130706433", "0x7f.1",
    ],
)  # fmt: skip
def test_inside_addresses_are_refused(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255",
                "100.128.0.0", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e",
                "::ffff:8.8.8.8"],
)  # fmt: skip
def test_addresses_of_the_internet_are_not(address: str) -> None:
    assert public(address)


@given(st.ip_addresses())
def test_none_is_public_that_python_knows_as_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if public(str(address)):
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert mapped.is_global
        assert not mapped.is_multicast
