"""Compressed bodies at a server: what clients send, and what is told when it can't be read."""

import gzip
import json
import sys
import zlib
from collections.abc import Callable

import httpx
import pytest

from tests.support.dialects import CHAT, DIALECTS, INFER, Dialect
from tests.support.server import ForgeServer
from tests.support.wire import wire

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("zstd", zstd.compress),
    ("deflate", zlib.compress),
    ("zstd, gzip", lambda data: gzip.compress(zstd.compress(data))),
]
LIMIT = 4 * 1024 * 1024
"""The server's."""


def content(dialect: Dialect) -> bytes:
    return json.dumps(dialect.body(max_tokens=2)).encode()


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_a_compressed_body_is_served(
    answering: httpx.Client, dialect: Dialect, name: str, pack: Callable[[bytes], bytes]
) -> None:
    headers = {"Content-Encoding": name}
    response = answering.post(dialect.path, content=pack(content(dialect)), headers=headers)
    assert response.status_code == 200, response.text
    assert dialect.answer(response).usage["completion_tokens"] <= 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", b'{"content": "hi"}'),
        ("/models/unload", b'{"model": "forge-tiny"}'),
        ("/v1/embeddings", b'{"input": 5}'),
    ],
)
def test_at_every_endpoint(http: httpx.Client, path: str, body: bytes) -> None:
    plain = http.post(path, content=body)
    packed = http.post(path, content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (packed.status_code, packed.content) == (plain.status_code, plain.content)


@pytest.mark.parametrize("name", ["br", "compress", "gzip, br", "gzip, gzip, gzip", "x" * 9000])
def test_other_encodings(front: httpx.Client, dialect: Dialect, name: str) -> None:
    response = front.post(
        dialect.path, content=content(dialect), headers={"Content-Encoding": name}
    )
    failure = dialect.refusal(response)
    assert (failure.status, failure.code) == (415, "unsupported_encoding")
    assert response.headers["accept-encoding"] == "gzip, zstd, deflate"
    assert len(failure.message) < 200


@pytest.mark.parametrize("name", ["identity", "", " , ", "utf-8"])
def test_no_encoding(answering: httpx.Client, name: str) -> None:
    headers = {"Content-Encoding": name}
    assert answering.post(INFER.path, content=content(INFER), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        pytest.param("gzip", content(INFER), id="plain"),
        pytest.param("gzip", gzip.compress(content(INFER))[:-9], id="cut off"),
        pytest.param("gzip", gzip.compress(content(INFER)) + b"more", id="something behind"),
        pytest.param("deflate", gzip.compress(content(INFER)), id="another format"),
        pytest.param("zstd", zstd.compress(content(INFER))[:-1], id="zstd cut off"),
        pytest.param("gzip", b"", id="nothing"),
    ],
)
def test_a_broken_body(front: httpx.Client, name: str, sent: bytes) -> None:
    response = front.post(INFER.path, content=sent, headers={"Content-Encoding": name})
    failure = INFER.refusal(response)
    assert (failure.status, failure.code) == (400, "invalid_request")
    assert f"the body is no valid {name}: " in failure.message


@pytest.mark.parametrize(("name", "pack"), PACKERS)
def test_a_bomb(front: httpx.Client, name: str, pack: Callable[[bytes], bytes]) -> None:
    """A body may be as large as the limit when it is decoded, and no byte larger."""
    for size, status in ((LIMIT, 400), (LIMIT + 1, 413), (30 * LIMIT, 413)):
        headers = {"Content-Encoding": name}
        response = front.post(CHAT.path, content=pack(b" " * size), headers=headers)
        assert response.status_code == status, response.text
        assert CHAT.refusal(response).code == ("invalid_request", "body_too_large")[status == 413]


# ------------------------------------------------------------------ byte by byte

PACKED = gzip.compress(content(INFER))
HEAD = b"POST /infer HTTP/1.1\r\nHost: forge\r\nContent-Encoding: gzip\r\n"


@pytest.fixture
def watched(server: ForgeServer, http: httpx.Client) -> ForgeServer:
    """The shared server, which the http fixture watches over."""
    return server


def test_in_chunks_of_a_byte(watched: ForgeServer) -> None:
    """An encoding of the body has nothing to do with one of its transfer."""
    with wire(watched) as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in PACKED:
            client.send(b"1\r\n%c\r\n" % byte)
        assert client.send(b"0\r\n\r\n").answer().status == 200


def test_expect_100_continue(watched: ForgeServer) -> None:
    """A request that its headers rule out is refused before its body."""
    with wire(watched) as client:
        head = HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(PACKED)
        assert client.send(head).answer().status == 100
        assert client.send(PACKED).answer().status == 200
        client.send(head.replace(b"gzip", b"br"))
        assert client.answer().status == 415


def test_the_connection_goes_on(watched: ForgeServer) -> None:
    """After each refusal the same connection serves the next request."""
    sized = HEAD + b"Content-Length: %d\r\n\r\n"
    bomb = gzip.compress(bytes(2 * LIMIT))
    with wire(watched) as client:
        for _ in range(3):
            client.send(sized % len(bomb) + bomb)
            assert client.answer().status == 413
            client.send(sized.replace(b"gzip", b"br") % len(PACKED) + PACKED)
            assert client.answer().status == 415
            client.send(sized % (len(PACKED) - 3) + PACKED[:-3])
            assert client.answer().status == 400
            assert client.send(sized % len(PACKED) + PACKED).answer().status == 200
