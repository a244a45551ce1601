"""Clients that close their sending half, such as ``nc -N``; and those of HTTP/1.0."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from gateway.http.terms import HALF_CLOSED_S
from tests.support.dialects import CHAT, INFER
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import ENDLESS, jobs_waiting, occupied
from tests.support.wire import Wire, wire

WHOLE = json.dumps(INFER.body(max_tokens=2)).encode()
STREAM = json.dumps(CHAT.body(stream=True, max_tokens=5, ignore_eos=True)).encode()
GET = b"GET /health HTTP/1.1\r\n\r\n"
CLOSE = b"Connection: close\r\n"
LATE_S = 1.5 * HALF_CLOSED_S


def post(body: bytes, more: bytes = b"", *, version: bytes = b"1.1") -> bytes:
    path = b"/infer" if b'"query"' in body else b"/v1/chat/completions"
    head = b"POST %s HTTP/%s\r\nHost: forge\r\n%s" % (path, version, more)
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    with ForgeServer(
        tmp_path_factory.mktemp("half"), *("--workers", "1", "--slots", "1", "--threads", "1")
    ).serving() as server:
        yield server
        eventually(lambda: server.busy() == 0 and not server.waiting(), "all slots are free")
    assert "eof_received" not in server.stderr


def half_closed(client: Wire, *sent: bytes) -> Wire:
    client.send(*sent).socket.shutdown(socket.SHUT_WR)
    return client


def rest(client: Wire) -> bytes:
    """All that comes until the end of the connection."""
    got = b""
    while data := client.socket.recv(65536):
        got += data
    return got


# ------------------------------------------------------------------ HTTP/1.0


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n", CLOSE])
def test_a_stream_of_http_1_0_is_not_in_chunks(single: ForgeServer, more: bytes) -> None:
    with wire(single) as client:
        client.send(post(STREAM, more, version=b"1.0"))
        head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close" in head
    assert b"Transfer-Encoding" not in head
    assert b"Content-Length" not in head
    *events, done, end = body.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    assert all(json.loads(event.removeprefix(b"data: ")) for event in events)


def test_other_answers_to_http_1_0(single: ForgeServer) -> None:
    """A known length is said, and HEAD has no body; a stream's first error keeps its status."""
    for method in (b"GET", b"HEAD"):
        with wire(single) as client:
            answer = client.send(b"%s /health HTTP/1.0\r\n\r\n" % method).answer(
                head=method == b"HEAD"
            )
            assert (answer.status, answer.headers["content-length"]) == (200, "15")
            assert client.closed()
    with wire(single) as client:
        client.send(b"HEAD /dashboard/events HTTP/1.0\r\n\r\n")
        assert rest(client).endswith(b"\r\n\r\n")
    with wire(single) as client:
        answer = client.send(post(b'{"messages": [], "stream": true}', version=b"1.0")).answer()
        assert answer.status == 400
        assert client.closed()


def test_the_page_s_stream_over_http_1_0(single: ForgeServer) -> None:
    with wire(single) as client:
        got = client.send(b"GET /dashboard/events HTTP/1.0\r\n\r\n").read_until(rb"\n\n")
        assert b"\r\n\r\nevent: hello\ndata: {" in got


# ------------------------------------------------------------------ half a connection


@pytest.mark.parametrize("body", [WHOLE, STREAM])
@pytest.mark.parametrize(
    "request_of", [post, lambda body: post(body, CLOSE), lambda body: post(body, version=b"1.0")]
)
def test_a_quick_answer_comes(single: ForgeServer, body: bytes, request_of: object) -> None:
    assert callable(request_of)
    with wire(single) as client:
        got = rest(half_closed(client, request_of(body)))
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"timings"' in got if body is WHOLE else b"data: [DONE]\n\n" in got


@pytest.mark.parametrize("body", [WHOLE, STREAM])
@pytest.mark.parametrize(
    "request_of", [lambda body: post(body, CLOSE), lambda body: post(body, version=b"1.0")]
)
def test_the_last_request_is_answered_always(
    single: ForgeServer, body: bytes, request_of: object
) -> None:
    """However long it waits: the client has said that nothing would follow."""
    assert callable(request_of)
    with wire(single) as client:
        with occupied(single):
            half_closed(client, request_of(body))
            time.sleep(LATE_S)
            assert len(jobs_waiting(single)) == 1
        got = rest(client)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"timings"' in got if body is WHOLE else b"data: [DONE]\n\n" in got


@pytest.mark.parametrize("body", [WHOLE, STREAM])
def test_otherwise_it_is_a_hang_up(single: ForgeServer, body: bytes) -> None:
    with wire(single) as client, occupied(single):
        half_closed(client, post(body))
        eventually(lambda: len(jobs_waiting(single)) == 0, "the queue forgets it")
        assert rest(client) == b""


def test_a_long_answer_is_cut(single: ForgeServer) -> None:
    """A stream that has begun goes on for a second, and the rest is not computed."""
    endless = json.dumps(CHAT.body(stream=True, max_tokens=100_000, n=64, **ENDLESS)).encode()
    with wire(single) as client:
        got = rest(half_closed(client, post(endless)))
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"[DONE]" not in got
    eventually(lambda: single.busy() == 0 and not single.waiting(), "its slot is free")


def test_pipelined_requests_are_all_answered(single: ForgeServer) -> None:
    with wire(single) as client:
        half_closed(client, post(WHOLE), GET, post(STREAM), GET)
        assert [client.answer().status for _ in range(4)] == [200] * 4
        assert client.closed()


def test_pipelined_requests_of_which_the_last_says_so(single: ForgeServer) -> None:
    with wire(single) as client:
        with occupied(single):
            half_closed(client, post(WHOLE), GET, post(WHOLE, CLOSE))
            time.sleep(LATE_S)
        assert [client.answer().status for _ in range(3)] == [200] * 3
        assert client.closed()


@pytest.mark.parametrize("behind", [b"GET /hea", post(WHOLE)[:-1], b"\r\n", b"P"])
def test_what_is_not_whole_is_not_answered(single: ForgeServer, behind: bytes) -> None:
    """Whole requests before it are."""
    before = single.get("/metrics")["requests"]["finished"]
    with wire(single) as client:
        half_closed(client, post(WHOLE), behind)
        assert client.answer().status == 200
        assert client.closed()
    with wire(single) as client:
        assert half_closed(client, behind).closed()
    assert single.get("/metrics")["requests"]["finished"] == before + 1


@pytest.mark.parametrize("path", [b"/infer", b"/nowhere"])
def test_a_body_that_ends_too_early_is_a_hang_up(single: ForgeServer, path: bytes) -> None:
    """Unless its answer did not need it."""
    with wire(single) as client:
        client.send(b"POST %s HTTP/1.1\r\nContent-Length: 50\r\n\r\n{" % path)
        if path == b"/nowhere":
            assert client.answer().status == 404
        client.socket.shutdown(socket.SHUT_WR)
        assert client.closed()


def test_a_refusal_comes(single: ForgeServer) -> None:
    with wire(single) as client:
        answer = half_closed(client, b"rubbish\r\n\r\n").answer()
        assert (answer.status, answer.code) == (400, "invalid_request")
        assert client.closed()
    with wire(single) as client:
        half_closed(client, post(WHOLE), b"rubbish\r\n\r\n")
        assert [client.answer().status for _ in range(2)] == [200, 400]
        assert client.closed()


def test_the_page_s_stream_is_not_waited_for(single: ForgeServer) -> None:
    """It has no end that could come within a second."""
    for _ in range(3):
        with wire(single) as client:
            client.send(b"GET /dashboard/events HTTP/1.1\r\n\r\n").read_until(rb"event: hello")
            client.socket.shutdown(socket.SHUT_WR)
            assert not rest(client).endswith(b"0\r\n\r\n"), "it is cut, not ended"


def test_an_idle_connection_ends(single: ForgeServer) -> None:
    with wire(single) as client:
        assert half_closed(client).closed()
    with wire(single) as client:
        assert client.send(GET).answer().status == 200
        client.socket.shutdown(socket.SHUT_WR)
        assert client.closed()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_stream_whose_client_is_gone_ends(single: ForgeServer, version: bytes) -> None:
    """The end of its connection looks like half of one; the next piece shows the difference."""
    endless = json.dumps(CHAT.body(stream=True, max_tokens=100_000, n=64, **ENDLESS)).encode()
    client = Wire(single)
    client.send(post(endless, CLOSE, version=version)).read_until(b"data: ")
    client.close()
    eventually(lambda: single.busy() == 0 and not single.waiting(), "its slot is free")


def test_tls_ends_as_a_whole(single: ForgeServer, tmp_path: Path) -> None:
    """asyncio's TLS has no half connections, and would warn of an attempt."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    secure = ForgeServer(
        tmp_path / "secure",
        *("--workers", "1", "--slots", "1", "--threads", "1"),
        *("--ssl-keyfile", str(tmp_path / "key.pem"), "--ssl-certfile", str(tmp_path / "cert.pem")),
        verify=trust,
    )
    try:
        secure.wait_ready()
        for sent in (b"", GET[:-2], post(WHOLE), post(STREAM, CLOSE), post(WHOLE, version=b"1.0")):
            with wire(secure, trust) as client:
                client.send(sent)
                assert isinstance(client.socket, ssl.SSLSocket)
                client.socket.settimeout(30)
                client.socket.unwrap()
        with wire(secure, trust) as client:
            assert client.send(post(WHOLE, version=b"1.0")).answer().status == 200
        eventually(lambda: secure.busy() == 0 and not secure.waiting(), "all is over")
        secure.stop()
        assert "eof_received" not in secure.stderr
        assert "Error" not in secure.stderr
    finally:
        secure.kill()
