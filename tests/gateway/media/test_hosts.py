"""Hosts that the operator names, and addresses of them."""

import pytest

from gateway.config.media_hosts import MediaHost, media_hosts
from gateway.media.hosts import LONGEST, MediaAddress, NoAddress, allowed

HOSTS = media_hosts("cdn.example.com, *.pictures.example:8443")


def test_hosts_as_the_operator_writes_them() -> None:
    assert (MediaHost("cdn.example.com"), MediaHost("pictures.example", 8443, True)) == HOSTS
    assert media_hosts(["A.example"]) == (MediaHost("a.example"),)
    assert media_hosts("") == ()
    assert media_hosts(HOSTS) == HOSTS


@pytest.mark.parametrize(
    "text", ["*", "https://a.example", "a.example/x", "a..b", "a b", "a:0", "a:99999", "*.*.b",
             "[::1]", "a@b", "ä.example"],
)  # fmt: skip
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        media_hosts(text)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://cdn.example.com/a.png?x=1#y", ("cdn.example.com", 443, "/a.png?x=1")),
        ("HTTPS://CDN.example.com.:443", ("cdn.example.com", 443, "/")),
        ("https://eu.pictures.example:8443/%20", ("eu.pictures.example", 8443, "/%20")),
        ("https://a.b.pictures.example:8443?q", ("a.b.pictures.example", 8443, "/?q")),
    ],
)
def test_addresses_that_may_be_fetched(url: str, address: MediaAddress) -> None:
    assert allowed(url, HOSTS) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example.com/a.png",
        "https://cdn.example.com:8443/a.png",
        "https://pictures.example:8443/a.png",
        "https://eu.pictures.example/a.png",
        "https://evilpictures.example:8443/",
        "https://cdn.example.com@evil.example/",
        "https://user:word@cdn.example.com/",
        "https://evil.example/cdn.example.com",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[/",
        "https://cdn.example.com:99999/",
        "https://cdn.example.com/\r\nHost: evil",
        "https://cdn.example.com/ä.png",
        "https://cdn.example.com\\@evil.example/",
        "https:///a.png",
        "https://cdn.example.com/" + "a" * LONGEST,
    ],
)
def test_addresses_that_may_not(url: str) -> None:
    with pytest.raises(NoAddress):
        allowed(url, HOSTS)


def test_no_host_is_named() -> None:
    with pytest.raises(NoAddress, match="--media-hosts"):
        allowed("https://cdn.example.com/a.png", ())
