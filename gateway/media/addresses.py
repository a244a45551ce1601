"""Addresses that the server may connect to for a client: those of the internet alone. Pure."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED = [
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's services for its machines, at a public address
    )
]  # fmt: skip
"""IANA's special-purpose IPv4 addresses. All of clouds' metadata services are in them."""
_INTERNET = ipaddress.ip_network("2000::/3")
"""The part of IPv6 that is given out; loopback, ULA, link-local and multicast are outside."""
_REFUSED_6 = [
    ipaddress.ip_network(each)
    for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16")
]
"""Protocols, documentation, and 6to4 and Teredo, which carry an IPv4 address inside."""


def public(text: str) -> bool:
    """Return whether an address, as the system writes it, is one of the internet."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:  # with a zone: no address of the internet has one
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return public(str(address.ipv4_mapped))
        return address in _INTERNET and not any(address in each for each in _REFUSED_6)
    return not any(address in each for each in _REFUSED)
