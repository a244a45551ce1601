"""The capitals of headers' names; tests/contract/test_http.py reads them over the wire."""

import pytest

from gateway.http.header_names import canonical_head, canonical_name


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (b"content-type", b"Content-Type"),
        (b"X-Request-ID", b"X-Request-Id"),
        (b"access-control-allow-origin", b"Access-Control-Allow-Origin"),
        (b"www-authenticate", b"WWW-Authenticate"),
        (b"x-ratelimit-limit-tokens", b"X-RateLimit-Limit-Tokens"),
        (b"etag", b"ETag"),
    ],
)
def test_names_have_the_capitals_that_most_servers_write(name: bytes, canonical: bytes) -> None:
    assert canonical_name(name) == canonical


def test_values_stay_as_they_are() -> None:
    head = b"HTTP/1.1 200 OK\r\nwarning: a: b-c\r\nserver: x\r\n\r\n"
    assert canonical_head(head) == b"HTTP/1.1 200 OK\r\nWarning: a: b-c\r\nServer: x\r\n\r\n"
