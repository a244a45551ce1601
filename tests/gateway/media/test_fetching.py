"""Files of other servers: real TLS on this machine, which a rule of the test's own allows."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme

from gateway.media.fetching import FetchTerms, NotFetched, fetch
from gateway.media.hosts import MediaAddress

pytestmark = pytest.mark.anyio

NAME = "pictures.example"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"x" * 1000
MOST = 4096
HOME = "127.0.0.1"
OTHER = "127.0.0.2"

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Host:
    """A server that answers as it is told, and keeps what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[bytes] = []
        self.connections = 0
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE
        self.forever = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            while self.forever:
                writer.write(b"x" * 65536)
                await writer.drain()
            await writer.drain()
        writer.close()


@pytest.fixture
async def host(authority: trustme.CA) -> AsyncIterator[Host]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(context)
    found = Host(0)
    server = await asyncio.start_server(found.serve, HOME, 0, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


@pytest.fixture
def terms(authority: trustme.CA) -> FetchTerms:
    """Trusts the test's authority, and lets it connect to this one address of this machine."""
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    async def resolve(name: str, port: int) -> list[str]:
        assert name == NAME
        return [HOME]

    return FetchTerms(lambda address: address == HOME, trusted, resolve, timeout_s=30)


def changed(terms: FetchTerms, **fields: object) -> FetchTerms:
    return FetchTerms(
        **{
            "may_connect": terms.may_connect,
            "trusted": terms.trusted,
            "resolve": terms.resolve,
            "timeout_s": terms.timeout_s,
            **fields,
        }  # type: ignore[arg-type]
    )


async def get(host: Host, terms: FetchTerms, target: str = "/a.png?x=1") -> bytes:
    return await fetch(MediaAddress(NAME, host.port, target), MOST, terms)


async def test_a_picture_comes(host: Host, terms: FetchTerms) -> None:
    assert await get(host, terms) == PICTURE
    head = host.asked[0].lower()
    assert head.startswith(b"get /a.png?x=1 http/1.1\r\n")
    assert b"host: %s:%d\r\n" % (NAME.encode(), host.port) in head
    assert b"cookie" not in head
    assert b"authorization" not in head


async def test_without_the_rule_this_machine_is_refused(host: Host, terms: FetchTerms) -> None:
    usual = changed(terms, may_connect=FetchTerms().may_connect)
    with pytest.raises(NotFetched, match="inside of a network"):
        await get(host, usual)
    assert host.connections == 0


async def test_one_address_inside_is_enough(host: Host, terms: FetchTerms) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return [HOME, "10.0.0.1"]

    with pytest.raises(NotFetched, match="inside of a network"):
        await get(host, changed(terms, resolve=resolve))
    assert host.connections == 0


async def test_the_address_that_was_checked_is_connected_to(host: Host, terms: FetchTerms) -> None:
    """A name that says another address when it is asked again leads nowhere else."""
    told = [[OTHER], [HOME]]

    async def resolve(name: str, port: int) -> list[str]:
        return told.pop(0)

    rebinding = changed(terms, resolve=resolve, may_connect=lambda address: address == OTHER)
    with pytest.raises(NotFetched, match="can't be connected to"):
        await get(host, rebinding)
    assert told == [[HOME]], "it was resolved once"
    assert host.connections == 0


async def test_the_next_address_is_tried(host: Host, terms: FetchTerms) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return [OTHER, HOME]

    both = changed(terms, resolve=resolve, may_connect=lambda address: True)
    assert await get(host, both) == PICTURE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\n\r\n", "redirects"),
        (b"HTTP/1.1 307 X\r\nLocation: /b.png\r\nContent-Length: 0\r\n\r\n", "redirects"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404"),
        (b"HTTP/1.1 206 Partial\r\nContent-Length: 1\r\n\r\nx", "answers 206"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n", "more than the 4096"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "more than|whole"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "compressed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx", "whole file"),
        (b"hello\r\n\r\n", "whole file"),
    ],
)
async def test_other_answers(host: Host, terms: FetchTerms, answer: bytes, reason: str) -> None:
    host.answer = answer
    with pytest.raises(NotFetched, match=reason):
        await get(host, terms)
    assert host.connections == 1


async def test_what_has_no_end_ends(host: Host, terms: FetchTerms) -> None:
    host.answer, host.forever = b"HTTP/1.1 200 OK\r\n\r\n", True
    with pytest.raises(NotFetched, match="more than the 4096"):
        await get(host, terms)


async def test_what_takes_too_long_ends(host: Host, terms: FetchTerms) -> None:
    host.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"  # and never a head's end
    waiting = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await waiting.wait()
        writer.close()

    host.serve = serve  # type: ignore[method-assign]
    server = await asyncio.start_server(serve, HOME, 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(NotFetched, match="longer than"):
            await fetch(MediaAddress(NAME, port, "/"), MOST, changed(terms, timeout_s=0.2))
        waiting.set()
    gc.collect()  # a socket that is left open would be told of now


async def test_another_certificate_is_refused(host: Host, terms: FetchTerms) -> None:
    with pytest.raises(NotFetched, match="can't be connected to"):
        await get(host, changed(terms, trusted=ssl.create_default_context()))
    assert host.asked == []


async def test_proxies_of_the_environment_are_not_asked(
    host: Host, terms: FetchTerms, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await get(host, terms) == PICTURE


async def test_a_name_without_addresses(host: Host, terms: FetchTerms) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return []

    with pytest.raises(NotFetched, match="or none"):
        await get(host, changed(terms, resolve=resolve))
