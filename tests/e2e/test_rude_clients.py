"""Clients that are slow, send too much, or do not speak HTTP: they harm themselves alone."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.http.terms import MAX_HEAD, MAX_HEADERS, MAX_LINGERING, MAX_PIPELINED, MAX_URL
from tests.conftest import Start
from tests.support.dialects import CHAT, INFER
from tests.support.server import ForgeServer, eventually
from tests.support.traffic import ENDLESS, occupied
from tests.support.wire import Answer, reset, wire

HEADER_TIMEOUT = 0.4
BODY_TIMEOUT = 1.0
BODY = json.dumps(INFER.body(max_tokens=1)).encode()
HEAD = b"POST /infer HTTP/1.1\r\nHost: forge\r\n"
SIZED = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
POST = SIZED + BODY
GET = b"GET /health HTTP/1.1\r\nHost: forge\r\n\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    """A server with little patience. It ends well, whatever the tests did to it."""
    with ForgeServer(
        tmp_path_factory.mktemp("strict"),
        *("--workers", "1", "--slots", "2", "--threads", "1"),
        *("--header-timeout", str(HEADER_TIMEOUT), "--body-timeout", str(BODY_TIMEOUT)),
    ).serving() as server:
        yield server
        eventually(lambda: server.busy() == 0 and not server.waiting(), "all slots are free")


def served(server: ForgeServer) -> None:
    """A client with manners is served."""
    with server.client() as client:
        assert INFER.ask(client, max_tokens=1).reason == "length"


def refused(answer: Answer, status: int, code: str) -> None:
    """An answer like any other, and the last of its connection."""
    assert (answer.status, answer.code) == (status, code), answer
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 24
    assert answer.headers["x-queue-wait"] == "0.000000"


# ------------------------------------------------------------------ slow


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"GET /heal", "headers_timeout", id="half a request line"),
        pytest.param(HEAD + b"Content-Le", "headers_timeout", id="half a header"),
        pytest.param(HEAD, "headers_timeout", id="headers without an end"),
        pytest.param(GET[:-2] + b"\r", "headers_timeout", id="all but a byte"),
        pytest.param(SIZED, "body_timeout", id="no body"),
        pytest.param(POST[:-1], "body_timeout", id="half a body"),
        pytest.param(CHUNKED + b"5\r\n{", "body_timeout", id="half a chunk"),
        pytest.param(CHUNKED + b"1\r\n{\r\n", "body_timeout", id="no last chunk"),
        pytest.param(CHUNKED + b"fffffffffff\r\n{", "body_timeout", id="a huge chunk"),
    ],
)
def test_who_stops_halfway_is_told(strict: ForgeServer, sent: bytes, code: str) -> None:
    with wire(strict) as rude:
        rude.send(sent)
        served(strict)
        refused(rude.answer(), 408, code)
        assert rude.closed()


def test_a_header_that_never_ends(strict: ForgeServer) -> None:
    """Progress alone does not do: the headers as a whole have their time."""
    with wire(strict) as rude:
        rude.drip(HEAD + b"X-Long: ", b"x", HEADER_TIMEOUT / 5)
        refused(rude.answer(), 408, "headers_timeout")


@pytest.mark.parametrize(
    ("head", "piece"), [(SIZED, b" "), (CHUNKED, b"1\r\n \r\n"), (CHUNKED + b"1;", b"x")]
)
def test_a_body_in_drops(strict: ForgeServer, head: bytes, piece: bytes) -> None:
    """A byte is always in time, and the whole is not."""
    head = head.replace(b"Content-Length: ", b"Content-Length: 999")
    with wire(strict) as rude:
        rude.drip(head, piece, BODY_TIMEOUT / 10)
        refused(rude.answer(), 408, "body_timeout")


def test_a_slow_upload_is_served(strict: ForgeServer) -> None:
    """It takes longer than any silence may, and it comes on."""
    size, pieces = 8192, 8
    with wire(strict) as slow:
        slow.send(HEAD + b"Content-Length: %d\r\n\r\n" % (size * pieces + len(BODY)))
        for _ in range(pieces):
            slow.send(b" " * size)
            time.sleep(1.5 * BODY_TIMEOUT / pieces)
        assert slow.send(BODY).answer().status == 200


def test_a_body_that_is_not_wanted_is_not_waited_for(strict: ForgeServer) -> None:
    with wire(strict) as rude:
        rude.send(b"POST /nowhere HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
        assert rude.answer().status == 404
        assert rude.send(b"def" + POST).answer().status == 200


# ------------------------------------------------------------------ idle


def test_idle_is_not_slow(strict: ForgeServer) -> None:
    """Neither before the first request nor between two."""
    with wire(strict) as idle:
        for _ in range(2):
            time.sleep(2 * HEADER_TIMEOUT)
            assert idle.send(GET).answer().status == 200
        idle.send(b"\r\n")  # some old clients end a request with one line too many
        time.sleep(2 * HEADER_TIMEOUT)
        assert idle.send(GET).answer().status == 200


def test_idle_connections_end(start_server: Start) -> None:
    server = start_server("--workers", "1", "--idle-timeout", "0.3")
    with wire(server) as fresh, wire(server) as used, wire(server) as odd:
        assert used.send(GET).answer().status == 200
        assert odd.send(GET, b"\r\n").answer().status == 200
        for idle in (fresh, used, odd):
            assert idle.closed()
    server.stop()


# ------------------------------------------------------------------ too much


@pytest.mark.parametrize(
    ("pieces", "status", "code"),
    [
        pytest.param(
            [HEAD, b"A: " + b"x" * MAX_HEAD, b"\r\n\r\n"], 431, "headers_too_large", id="one header"
        ),
        pytest.param([HEAD, b"A: ", *[b"x" * 65536] * 100], 431, "headers_too_large", id="endless"),
        pytest.param(
            [HEAD, b"A: b\r\n" * MAX_HEADERS, b"\r\n"], 431, "headers_too_large", id="too many"
        ),
        pytest.param([b"\r\n" * 32768] * 100, 431, "headers_too_large", id="empty lines"),
        pytest.param([CHUNKED, b"1;", *[b"x" * 65536] * 100], 431, "headers_too_large", id="chunk"),
        pytest.param(
            [CHUNKED, b"0\r\nA: ", *[b"x" * 65536] * 100], 431, "headers_too_large", id="trailer"
        ),
        pytest.param(
            [b"GET /", b"x" * MAX_URL, b" HTTP/1.1\r\n\r\n"], 414, "url_too_long", id="URL"
        ),
        pytest.param([b"GET /", *[b"x" * 65536] * 100], 414, "url_too_long", id="endless URL"),
    ],
)
def test_too_much(strict: ForgeServer, pieces: list[bytes], status: int, code: str) -> None:
    with wire(strict) as rude:
        refused(rude.send(*pieces).answer(), status, code)
        assert rude.closed()
    served(strict)


def test_large_but_not_too_large(strict: ForgeServer) -> None:
    many = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 200) for i in range(MAX_HEADERS - 2))
    with wire(strict) as client:
        assert client.send(GET[:-2], many, b"\r\n").answer().status == 200
        client.send(b"GET /health?", b"x" * (MAX_URL - 8), b" HTTP/1.1\r\n\r\n")
        assert client.answer().status == 200


# ------------------------------------------------------------------ not HTTP


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"rubbish\r\n\r\n", id="rubbish"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(GET[:-2] + b"A: \0\r\n\r\n", id="NUL in a header"),
        pytest.param(b"GET /\xff HTTP/1.1\r\n\r\n", id="no ASCII"),
        pytest.param(b"GET http://forge HTTP/1.1\r\n\r\n", id="URL without a path"),
        pytest.param(b"CONNECT forge:80 HTTP/1.1\r\n\r\n", id="CONNECT"),
        pytest.param(HEAD + b"Content-Length: -4\r\n\r\n", id="negative length"),
        pytest.param(SIZED[:-2] + b"Content-Length: 9\r\n\r\n", id="two lengths"),
        pytest.param(SIZED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", id="length and chunks"),
        pytest.param(CHUNKED + b"zz\r\n", id="no chunk size"),
        pytest.param(CHUNKED + b"f" * 20 + b"\r\n", id="chunk size of 80 bits"),
        pytest.param(GET[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="chunk of a GET"),
    ],
)
def test_not_http(strict: ForgeServer, sent: bytes) -> None:
    """Told once, and nothing is written after that."""
    with wire(strict) as rude:
        refused(rude.send(sent).answer(), 400, "invalid_request")
        assert rude.closed()


def test_the_shape_is_that_of_the_dialect_if_it_is_known(strict: ForgeServer) -> None:
    for path, shape in ((b"/infer", str), (b"/v1/completions", dict)):
        for bad in (b"zz\r\n", b"1\r\n"):
            with wire(strict) as rude:
                rude.send(b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" % path, bad)
                assert isinstance(json.loads(rude.answer().body)["error"], shape)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", 200, id="HTTP/1.0"),
        pytest.param(POST.replace(b"HTTP/1.1", b"HTTP/1.0"), 200, id="POST of HTTP/1.0"),
        pytest.param(b"GET http://forge/health HTTP/1.1\r\n\r\n", 200, id="absolute URL"),
        pytest.param(b"GET /%00 HTTP/1.1\r\n\r\n", 404, id="NUL in the path"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\n\r\n", 404, id="OPTIONS *"),
        pytest.param(b"GET /nowhere HTTP/1.1\r\nHost: [\r\n\r\n", 404, id="bad host"),
        pytest.param(SIZED[:-2] + UPGRADE + b"\r\n" + BODY, 200, id="upgrade with a body"),
        pytest.param(
            CHUNKED + b"%x\r\n%b\r\n0\r\nX-Priority: none\r\n\r\n" % (len(BODY), BODY),
            200,
            id="a trailer that would be a bad header",
        ),
    ],
)
def test_odd_but_fine(strict: ForgeServer, sent: bytes, status: int) -> None:
    with wire(strict) as client:
        assert client.send(sent).answer().status == status


def test_head_has_no_body(strict: ForgeServer) -> None:
    with wire(strict) as client:
        for path, status in ((b"/health", 200), (b"/infer", 405)):
            client.send(b"HEAD %s HTTP/1.1\r\n\r\n" % path)
            answer = client.answer(head=True)
            assert answer.status == status
            assert int(answer.headers["content-length"]) > 0
        assert client.send(GET).answer().status == 200


def test_an_offer_to_switch_protocols_is_not_taken(strict: ForgeServer) -> None:
    """And costs nothing: not the body, not the requests behind it."""
    offer = SIZED[:-2] + UPGRADE + b"\r\n"
    with wire(strict) as client:
        client.send(offer + BODY + GET + GET[:-2] + UPGRADE + b"\r\n" + GET)
        assert [client.answer().status for _ in range(4)] == [200] * 4
        client.send(offer)
        time.sleep(HEADER_TIMEOUT / 4)
        assert client.send(BODY[:5], BODY[5:]).answer().status == 200


# ------------------------------------------------------------------ behind another request


@pytest.mark.parametrize(
    ("behind", "status", "code"),
    [
        (b"rubbish\r\n\r\n", 400, "invalid_request"),
        (CHUNKED + b"zz\r\n", 400, "invalid_request"),
        (b"GET /" + b"x" * MAX_URL, 414, "url_too_long"),
        (b"GET /hea", 408, "headers_timeout"),
    ],
)
def test_an_answer_is_not_interrupted(
    strict: ForgeServer, behind: bytes, status: int, code: str
) -> None:
    """Bytes behind a request are refused after its answer, however long that takes."""
    body = json.dumps(CHAT.body("hello", stream=True, max_tokens=9, ignore_eos=True)).encode()
    head = b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (CHAT.path.encode(), len(body))
    with wire(strict) as rude:
        with occupied(strict, slots=2):
            rude.send(head + body + behind)
            time.sleep(2 * HEADER_TIMEOUT)
        answer = rude.answer()
        assert answer.status == 200
        assert b"data: [DONE]" in answer.body
        refused(rude.answer(), status, code)
        assert rude.closed()


def test_pipelined_requests_have_a_bound(strict: ForgeServer) -> None:
    with wire(strict) as greedy:
        greedy.send(POST + GET * (MAX_PIPELINED + 1))
        for _ in range(MAX_PIPELINED + 1):
            assert greedy.answer().status == 200
        refused(greedy.answer(), 400, "invalid_request")


def test_a_hang_up_ends_all_pipelined_requests(strict: ForgeServer) -> None:
    body = json.dumps(INFER.body("count", **ENDLESS)).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    for together in (True, False):
        with wire(strict) as client:
            client.send(request * 3 if together else request)
            eventually(lambda: strict.busy() == 1, "the first one runs")
            client.send(b"" if together else request)
            before = strict.decoded()
            reset(client.socket)  # the other way they would have a second to end
        eventually(lambda: strict.busy() == 0, "its slot is free")
        assert strict.decoded() - before < 1500, "it ran to its end for nobody"


# ------------------------------------------------------------------ too many


def test_over_the_limit_of_connections(start_server: Start) -> None:
    server = start_server("--workers", "1", "--max-connections", "3")
    with ExitStack() as stack:
        inside = [stack.enter_context(wire(server)) for _ in range(3)]
        for client in inside:
            assert client.send(GET).answer().status == 200
        for _ in range(20):
            with wire(server) as late:
                answer = late.send(POST).answer()
                refused(answer, 503, "too_many_connections")
                assert answer.headers["retry-after"] == "1"
        for client in inside:
            assert client.send(POST).answer().status == 200
        inside[0].close()
        eventually(lambda: accepted(server), "there is room for one again")
    assert server.stderr.count("refusing more") == 1
    server.stop()


def test_the_refused_are_no_burden(start_server: Start) -> None:
    """They may read why, without a reset; they count as no connection; and only some may linger."""
    server = start_server("--workers", "1", "--max-connections", "1")
    files = Path(f"/proc/{server.process.pid}/fd")
    with wire(server) as inside, ExitStack() as stack:
        assert inside.send(GET).answer().status == 200
        used = len(list(files.iterdir())) if files.exists() else 0
        first = stack.enter_context(wire(server))
        refused(first.answer(), 503, "too_many_connections")
        for _ in range(3):
            first.socket.sendall(POST)  # not into a socket that is gone
        assert first.socket.recv(1) == b""
        rest = [stack.enter_context(wire(server)) for _ in range(2 * MAX_LINGERING)]
        for late in rest:
            refused(late.answer(), 503, "too_many_connections")
        if files.exists():
            assert len(list(files.iterdir())) < used + 1.5 * MAX_LINGERING
        inside.send(GET.replace(b"/health", b"/metrics")[:-2] + b"Accept: text/plain\r\n\r\n")
        assert b"\nforge_connections 1.0\n" in inside.answer().body
    server.stop()


def accepted(server: ForgeServer) -> bool:
    with wire(server) as client:
        return client.send(GET).answer().status == 200


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="sets the limit of another process")
def test_no_descriptors_left(start_server: Start) -> None:
    """The system refuses before the server can: who is inside is served, and later all are."""
    server = start_server("--workers", "1")
    pid = server.process.pid
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    with ExitStack() as stack:
        inside = stack.enter_context(wire(server))
        assert inside.send(GET).answer().status == 200
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, hard))
        others = [stack.enter_context(wire(server)) for _ in range(50)]
        lost = 0
        for other in others:
            try:
                assert other.send(GET).answer().status == 200
            except (AssertionError, ConnectionResetError):
                lost += 1
        assert 40 < lost < 50
        assert inside.send(POST).answer().status == 200
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
    eventually(lambda: accepted(server), "there is room again")
    server.stop()
