"""HTTP itself, spoken byte by byte where a client library would not let us."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.support.dialects import DIALECTS, INFER, Dialect
from tests.support.server import DEADLINE_S, ForgeServer

BODY = json.dumps(INFER.body(max_tokens=1)).encode()
HEAD = b"POST /infer HTTP/1.1\r\nHost: forge\r\nContent-Length: %d\r\n"


@pytest.fixture
def wire(server: ForgeServer, http: httpx.Client) -> Iterator[socket.socket]:
    """A connection to the shared server, which the http fixture watches over."""
    url = httpx.URL(server.url)
    assert url.port is not None
    with closing(socket.create_connection((url.host, url.port), DEADLINE_S)) as wire:
        yield wire


def read(wire: socket.socket, until: bytes) -> bytes:
    got = b""
    while until not in got:
        data = wire.recv(65536)
        assert data, f"closed after {got!r}"
        got += data
    return got


def read_all(wire: socket.socket) -> bytes:
    got = b""
    while data := wire.recv(65536):
        got += data
    return got


def test_expect_100_continue(wire: socket.socket) -> None:
    """curl waits for this before it sends a body of more than a kilobyte."""
    wire.sendall(HEAD % len(BODY) + b"Expect: 100-continue\r\n\r\n")
    assert read(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    wire.sendall(BODY)
    assert read(wire, b'"timings"').startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("length", [len(BODY), 0, -1], ids=["answer", "error", "refusal"])
def test_names_of_headers_have_capitals(wire: socket.socket, length: int) -> None:
    """Scripts read them by case; the endpoint writes an answer, the connection a refusal."""
    wire.sendall(HEAD % length + b"Expect: 100-continue\r\n\r\n" + BODY[: max(length, 0)])
    wire.shutdown(socket.SHUT_WR)
    got = read_all(wire)
    head = got[got.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")[0]
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert {b"Content-Type", b"Content-Length", b"X-Request-Id"} <= set(names)
    assert all(part[:1].isupper() for name in names for part in name.split(b"-"))


def test_a_body_in_single_bytes(wire: socket.socket) -> None:
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in HEAD % len(BODY) + b"\r\n" + BODY:
        wire.sendall(bytes([byte]))
    assert read(wire, b'"timings"').startswith(b"HTTP/1.1 200 OK\r\n")


def test_pipelined_requests(wire: socket.socket) -> None:
    """Answers come in the order of the requests, and none is lost."""
    bad = b'{"query": 5}'
    requests = [BODY, bad, BODY]
    wire.sendall(b"".join(HEAD % len(body) + b"\r\n" + body for body in requests))
    got = b""
    while got.count(b"HTTP/1.1 ") < 3:
        got += read(wire, b"HTTP/1.1 ")
    codes = [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"200", b"400", b"200"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"rubbish\r\n\r\n",
        b"POST /infer HTTP/1.1\r\nHost: forge\r\nContent-Length: many\r\n\r\n",
        b"POST /infer HTTP/1.1\r\nHost: forge\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # somebody tries TLS
    ],
)
def test_not_http(wire: socket.socket, request_bytes: bytes) -> None:
    wire.sendall(request_bytes)
    assert read(wire, b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", [b"forge", b"[", b"forge/infer?"])
def test_errors_name_the_path_as_it_was_sent(wire: socket.socket, host: bytes) -> None:
    """Also one that a URL would drop parts of; and it is not /infer, so it is not its dialect."""
    head = b"POST /in%0afer%3fa HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n"
    wire.sendall(head + b"Host: " + host + b"\r\n\r\n")
    body = json.loads(read(wire, b"}}").partition(b"\r\n\r\n")[2])
    assert body["error"]["message"] == "there is nothing at /in\nfer?a; near it: POST /infer"


def test_one_connection_survives_errors(http: httpx.Client, dialect: Dialect) -> None:
    for _ in range(3):
        assert http.post(dialect.path, content=b"{").status_code == 400
        assert dialect.ask(http, max_tokens=1, ignore_eos=True).reason == "length"
        assert http.get("/nowhere").status_code == 404


def test_content_types_do_not_matter(answering: httpx.Client) -> None:
    """``curl -d`` says that JSON is a form; the seed's clients say nothing."""
    for dialect in DIALECTS:
        content = json.dumps(dialect.body(max_tokens=1)).encode()
        for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
            headers = {"Content-Type": kind} if kind else {}
            response = answering.post(dialect.path, content=content, headers=headers)
            assert response.status_code == 200, response.text
