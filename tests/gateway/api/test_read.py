"""The bytes of a body: joined, limited in size, and JSON."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from gateway.api.content_encoding import decoded
from gateway.api.json_body import read
from gateway.api.upload import upload_deadline
from gateway.config.server_options import MIN_UPLOAD_RATE
from gateway.core.errors import BadRequest, BodyTimeout, BodyTooLarge, UnsupportedEncoding


def request(
    *chunks: bytes,
    length: str | None = None,
    encoding: str | None = None,
    hangs_up: bool = False,
    stalls: bool = False,
) -> Request:
    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if hangs_up:
            yield {"type": "http.disconnect"}
        if stalls:
            await asyncio.Event().wait()
        yield {"type": "http.request", "body": b"", "more_body": False}

    stream = messages()
    given = {b"content-length": length, b"content-encoding": encoding}
    headers = [(name, value.encode()) for name, value in given.items() if value is not None]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    return Request(scope, receive=stream.__anext__)


def read_now(req: Request, limit: int = 1000, timeout: float = 60) -> dict[str, Any]:
    value, size = asyncio.run(read(req, limit, timeout))
    assert size <= limit
    return value


def test_a_compressed_body_is_decoded_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def recorded(*args: Any) -> bytes | bytearray:
        threads.append(threading.current_thread())
        return decoded(*args)

    monkeypatch.setattr("gateway.api.json_body.decoded", recorded)
    packed = gzip.compress(b'{"a": 1}')
    assert read_now(request(packed[:7], packed[7:], encoding="gzip")) == {"a": 1}
    assert threads
    assert threading.main_thread() not in threads
    assert read_now(request(b'{"a": 1}', encoding="identity")) == {"a": 1}
    assert len(threads) == 1, "a plain body needs no thread"


def test_a_body_whose_encoding_can_t_be_read_is_not_waited_for() -> None:
    with pytest.raises(UnsupportedEncoding):
        read_now(request(stalls=True, encoding="br"))


@pytest.mark.parametrize("length", ["1001", "9" * 5000])
def test_a_declared_length_is_refused_before_anything_is_read(length: str) -> None:
    with pytest.raises(BodyTooLarge):
        read_now(request(stalls=True, length=length))


def test_a_length_that_is_none_says_nothing() -> None:
    """A header may bring the superscripts of Latin-1, which are digits by Unicode."""
    assert read_now(request(b"{}", length="\u00b2")) == {}


def test_read_joins_chunks() -> None:
    assert read_now(request(b'{"a"', b": 1", b"}")) == {"a": 1}
    assert read_now(request(b'{"a":"' + b"x" * 92 + b'"}'), limit=100) == {"a": "x" * 92}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b"[1]",
        b'"x"',
        b"null",
        b"5",
        b"\xff",
        b"[" * 900,
    ],
)
def test_bad_json(data: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        read_now(request(data))
    assert caught.value.param is None
    assert "JSON" in caught.value.message


def test_too_large() -> None:
    body = orjson.dumps({"a": "x" * 200})
    with pytest.raises(BodyTooLarge):
        read_now(request(body), limit=100)
    # Refused before it is read, where the length is declared.
    with pytest.raises(BodyTooLarge):
        read_now(request(hangs_up=True, length="101"), limit=100)
    # A length that lies, or is no number, is not trusted.
    with pytest.raises(BodyTooLarge):
        read_now(request(body, length="5"), limit=100)
    assert read_now(request(b"{}", length="many"), limit=100) == {}


def test_hang_up_while_reading() -> None:
    with pytest.raises(ClientDisconnect):
        read_now(request(b'{"a": 1', hangs_up=True))


def test_a_body_that_stops() -> None:
    with pytest.raises(BodyTimeout, match="7 bytes"):
        read_now(request(b'{"a": 1', stalls=True), timeout=0.05)


def test_the_deadline_of_an_upload() -> None:
    """Silence has a limit, and so has the whole by its rate; whichever ends first."""
    assert upload_deadline(100, 100, 0, 30) == 130
    assert upload_deadline(100, 101, 10**9, 30) == 131, "much data buys no long silence"
    rate = MIN_UPLOAD_RATE
    assert upload_deadline(100, 160, 60 * rate, 30) == 190
    assert upload_deadline(100, 160, 40 * rate, 30) == 170, "below the rate"
    assert upload_deadline(100, 129, 1, 30) == pytest.approx(130, abs=0.01), "a byte, in time"
