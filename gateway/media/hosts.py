"""Addresses that may be fetched: over https, of a host that the operator has named. Pure."""

from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.config.media_hosts import PORT, MediaHost

LONGEST = 8192
"""Characters of an address."""


class NoAddress(ValueError):
    """The text is no address that may be fetched; one line."""


class MediaAddress(NamedTuple):
    """An address that may be fetched."""

    host: str
    port: int
    target: str
    """Path and query."""


def allowed(url: str, hosts: tuple[MediaHost, ...]) -> MediaAddress:
    """Return an address in its parts. Raises NoAddress if it must not be fetched."""
    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        raise NoAddress("it is no address that can be read")
    try:
        split = urlsplit(url)
        name, port = (split.hostname or "").rstrip("."), split.port or PORT
    except ValueError:
        raise NoAddress("it is no address that can be read") from None
    if split.scheme != "https":
        raise NoAddress("addresses are fetched over https alone")
    if split.username is not None or split.password is not None:
        raise NoAddress("an address with a user or a password is not fetched")
    if not any(each.has(name, port) for each in hosts):
        raise NoAddress(
            "this server fetches nothing from that host (--media-hosts); send the data itself, in "
            "base64"
        )
    query = f"?{split.query}" if split.query else ""
    return MediaAddress(name, port, (split.path or "/") + query)
