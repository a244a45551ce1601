"""The test that a request is from this machine."""

from starlette.requests import Request

from gateway.core.loopback import NAME, is_loopback

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers of proxies: then the address says where the proxy is."""
NOT_ANOTHERS = ("same-origin", "none")
"""Values of Sec-Fetch-Site that no other site's page can cause."""


def from_here(request: Request) -> bool:
    """Tell whether a request certainly comes from this machine, and not from a web page."""
    headers, client = request.headers, request.client
    if client is None or any(name in headers for name in FORWARDED):
        return False
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return False
    if headers.get("sec-fetch-site", "none") not in NOT_ANOTHERS:
        return False  # browsers say it also where they leave the origin out
    return is_loopback(client.host) and _named_here(headers.get("host", ""))


def _named_here(host: str) -> bool:
    """Tell if the browser's user meant this machine: any name may be made to lead here."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name == NAME or is_loopback(name.strip("[]"))
