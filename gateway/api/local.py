"""The test that a request is from this machine."""

import ipaddress

from starlette.requests import Request

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of proxies: then the address says where the proxy is."""


def from_here(request: Request) -> bool:
    """Tell whether a request certainly comes from this machine, and not from a web page."""
    headers, client = request.headers, request.client
    if client is None or any(name in headers for name in FORWARDED):
        return False
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return False
    return _loopback(client.host) and _named_here(headers.get("host", ""))


def _named_here(host: str) -> bool:
    """Tell if the browser's user meant this machine: any name may be made to lead here."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name == "localhost" or _loopback(name.strip("[]"))


def _loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
