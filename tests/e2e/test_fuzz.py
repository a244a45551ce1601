"""Whatever is sent, it is answered in the dialect's shape, and the server stays as it was.

No 500, no traceback, no slot that stays busy, no worker that ends.
"""

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.dialects import CHAT, DIALECTS, INFER, Dialect
from tests.support.fuzzing import (
    VALUES,
    Got,
    answer,
    connect,
    dumped,
    exchange,
    near_valid,
    request,
    usual,
)
from tests.support.server import ForgeServer, eventually

many = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
REFUSALS = {400, 404, 413, 415, 504}
"""413: a prompt can be larger than everything that may wait. 415: headers may name an encoding.
504: `timeout` is fuzzed too."""


@pytest.fixture(scope="module")
def target(server: ForgeServer) -> Iterator[ForgeServer]:
    """The shared server, which must not show that it was here."""
    pids, before = server.pids(), len(server.stderr)
    yield server
    eventually(lambda: server.busy() == 0 and not server.waiting(), "all slots are free again")
    assert server.get("/health") == {"status": "ok"}
    assert server.pids() == pids
    said = server.stderr[before:]
    assert "Traceback" not in said
    assert "Exception" not in said


def check(dialect: Dialect, got: Got | None) -> None:
    """A valid answer of the dialect, or a refusal in its shape."""
    assert got is not None
    response = got.response()
    if got.status != 200:
        assert got.status in REFUSALS, response.text
        failure = dialect.refusal(response)
        assert (got.status == 504) == (failure.code == "deadline_exceeded")
    elif response.headers["content-type"] != "application/json":
        assert dialect.chunks(response.text.split("\n"))  # a deadline may end it
    else:
        found = response.json()
        for each in found if isinstance(found, list) else [found]:  # llama-server's of several
            assert dialect.counted in each or (dialect.loads and "load" in each["done_reason"])


@many
@given(near_valid())
@example((CHAT, dumped({**CHAT.body(), "temperature": 1e-40, "max_tokens": 3}).encode()))
@example((CHAT, dumped({**CHAT.body(), "repeat_penalty": 1e-300, "max_tokens": 3}).encode()))
@example((INFER, dumped({**INFER.body(), "priority": 1e308, "max_tokens": 1}).encode()))
def test_near_valid_bodies(target: ForgeServer, sent: tuple[Dialect, bytes]) -> None:
    dialect, body = sent
    check(dialect, exchange(target, request(dialect.path.encode(), body, usual(body))))


@many
@given(st.sampled_from(DIALECTS), VALUES.map(dumped).map(str.encode) | st.binary(max_size=100))
def test_any_body(target: ForgeServer, dialect: Dialect, body: bytes) -> None:
    check(dialect, exchange(target, request(dialect.path.encode(), body, usual(body))))


HEADER_VALUES = st.one_of(
    st.binary(max_size=20).filter(lambda value: not set(value) & {0, 10, 13}),
    st.sampled_from(
        [b"", b"nan", b"inf", b"-1", b"1e400", b"1_0", b"9" * 5000, b"\xb2", b"urgent", b"0x10"]
    ),
    st.floats().map(repr).map(str.encode),
)
HEADERS = st.tuples(
    st.sampled_from(
        [
            b"X-Priority",
            b"X-Request-Timeout",
            b"Content-Type",
            b"Content-Encoding",
            b"Accept",
            b"Accept-Encoding",
            b"Authorization",
            b"X-API-Key",
            b"X-Request-Id",
            b"X-Forwarded-For",
            b"X-Forwarded-Proto",
            b"Host",
            b"Origin",
            b"Cookie",
            b"Range",
            b"Expect",
            b"Upgrade",
            b"Connection",
        ]
    ),
    HEADER_VALUES,
)


@many
@given(st.sampled_from(DIALECTS), st.lists(HEADERS, max_size=4))
@example(CHAT, [(b"Host", b"[")])
@example(CHAT, [(b"Host", b"a/infer?")])
def test_any_headers(
    target: ForgeServer, dialect: Dialect, headers: list[tuple[bytes, bytes]]
) -> None:
    body = dumped(dialect.body(max_tokens=1)).encode()
    got = exchange(target, request(dialect.path.encode(), body, [*usual(body), *headers]))
    check(dialect, got)


PARTS = st.one_of(
    st.sampled_from(["infer", "v1", "chat", "completions", "models", "queue"]),
    st.sampled_from(["workers", "health", "metrics", "forge-tiny", "a" * 999]),
    st.sampled_from([".", "..", "?a", "#", "{name}", "~", ";", "\\", "*", "%", "%2f", "%u0041"]),
    st.integers(0, 255).map("%{:02x}".format),
)
PATHS = st.lists(PARTS, max_size=4).map(lambda parts: ("/" + "/".join(parts)).encode())
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"]


@many
@given(PATHS, st.sampled_from(METHODS), st.lists(HEADERS, max_size=2))
@example(b"/in%0afer", "POST", [])
@example(b"/metrics", "GET", [(b"Accept", b"application/openmetrics-text;version=x")])
@example(b"/metrics", "GET", [(b"Accept", b"text/plain;version=\xb2")])
def test_any_path(
    target: ForgeServer, path: bytes, method: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """200 from what may be read; else an error of the dialect whose path it is."""
    sent = request(path, b"", [*usual(b""), *headers], method.encode())
    got = exchange(target, sent, method)
    assert got is not None
    if got.status != 200 and method != "HEAD":
        assert got.status in {400, 404, 405}, got.body
        parts = path.partition(b"?")[0].partition(b"#")[0].split(b"/")
        infer = [part for part in parts if part] == [b"infer"]  # whatever slashes are too many
        (INFER if infer else CHAT).refusal(got.response())
    assert got.status < 500


HEADS = [
    b"POST /infer HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /infer HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    b"GET /health HTTP/1.0\r\n\r\n",
    b"GET ",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01",
]
TAILS = [b"", b"\r\n\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"5\r\nabc", b": \r\n\r\n"]


@many
@given(st.sampled_from(HEADS) | st.just(b""), st.binary(max_size=200), st.sampled_from(TAILS))
def test_random_bytes(target: ForgeServer, head: bytes, middle: bytes, tail: bytes) -> None:
    """400, or an answer to what happens to be a request, or the end of the connection.

    What is no whole request yet is waited for, so our side ends first: no answer is one, too.
    """
    with connect(target) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(head + middle + tail)
            sock.shutdown(socket.SHUT_WR)
        got = answer(sock)
    assert got is None or got.status in {200, 400, 404, 405}, got
