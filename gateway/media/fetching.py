"""A file of another server's, for a client that gives its address.

The client chooses the address, and the server stands inside a network: so it connects only to hosts
that the operator has named, and only to addresses of the internet. The address is checked when it
is connected to, and that one is connected to: a name that is resolved a second time may lead
elsewhere. There are no redirects, no proxies and no cookies; bytes and time are bounded.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway.media.addresses import public
from gateway.media.hosts import MediaAddress

if TYPE_CHECKING:  # most servers fetch nothing
    from httpcore2 import SOCKET_OPTION, AsyncNetworkStream, Response

TIMEOUT_S = 20.0
"""For all of it: the name, the connection, and the last byte."""
USER_AGENT = b"forge-media"


class NotFetched(Exception):
    """The reason why an address gave no file, in one line that a client may read."""


async def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a name; none if it has none."""
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


@dataclass(frozen=True, slots=True)
class FetchTerms:
    """Rules for all fetches of a process; tests put others in."""

    may_connect: Callable[[str], bool] = public
    """Returns whether an address, as numbers, may be connected to."""
    trusted: ssl.SSLContext | None = None
    """None: the authorities that are usual."""
    resolve: Callable[[str, int], Awaitable[list[str]]] = resolved
    timeout_s: float = TIMEOUT_S


async def fetch(address: MediaAddress, most: int, terms: FetchTerms) -> bytes:
    """Return the file at an address, ``most`` bytes at most. Raises NotFetched."""
    import httpcore2

    context = terms.trusted or await asyncio.to_thread(_usual_context)
    opened: list[AsyncNetworkStream] = []
    try:
        async with (
            asyncio.timeout(terms.timeout_s),
            httpcore2.AsyncConnectionPool(
                ssl_context=context,
                max_keepalive_connections=0,
                network_backend=_checked_network(terms, opened),
            ) as pool,
            pool.stream("GET", _url(address), headers=_headers(address)) as response,
        ):
            return await _body(response, most)
    except TimeoutError:
        raise NotFetched(f"it took longer than {terms.timeout_s:g} seconds to fetch") from None
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        raise NotFetched("its host can't be connected to") from error
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
        raise NotFetched("its host did not send a whole file") from error
    finally:
        for stream in opened:  # a handshake that is cut off leaves its socket open
            await stream.aclose()


@cache
def _usual_context() -> ssl.SSLContext:
    """Return what trusts the usual authorities; to read them takes a while."""
    import httpcore2

    return httpcore2.default_ssl_context()


def _url(address: MediaAddress) -> Any:
    import httpcore2

    return httpcore2.URL(
        scheme=b"https",
        host=address.host.encode(),
        port=address.port,
        target=address.target.encode(),
    )


def _headers(address: MediaAddress) -> list[tuple[bytes, bytes]]:
    host = address.host if address.port == 443 else f"{address.host}:{address.port}"
    return [
        (b"Host", host.encode()),
        (b"User-Agent", USER_AGENT),
        (b"Accept", b"image/*, audio/*"),
        (b"Accept-Encoding", b"identity"),
        (b"Connection", b"close"),
    ]


async def _body(response: "Response", most: int) -> bytes:
    """Return the file. Raises NotFetched for another answer than a file."""
    if 300 <= response.status < 400:
        raise NotFetched(f"its host answers {response.status}, and redirects are not followed")
    if response.status != 200:
        raise NotFetched(f"its host answers {response.status}")
    found = {name.lower(): value for name, value in response.headers}
    if found.get(b"content-encoding", b"identity").lower() != b"identity":
        raise NotFetched("its host sends it compressed")
    length = found.get(b"content-length", b"0")
    if len(length) > 18 or (length.isdigit() and int(length) > most):
        raise _too_large(most)
    data = bytearray()
    async for piece in response.aiter_stream():
        data += piece
        if len(data) > most:
            raise _too_large(most)
    return bytes(data)


def _too_large(most: int) -> NotFetched:
    return NotFetched(f"it has more than the {most} bytes that are left for this request's media")


def _checked_network(terms: FetchTerms, opened: "list[AsyncNetworkStream]") -> Any:
    """Return a network that connects to permitted addresses alone, and notes what it opens."""
    import httpcore2

    class _CheckedNetwork(httpcore2.AnyIOBackend):
        """Resolves a name once, and connects to one of the addresses that it found."""

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: "Iterable[SOCKET_OPTION] | None" = None,
        ) -> "AsyncNetworkStream":
            addresses = await terms.resolve(host, port)
            refused = [each for each in addresses if not terms.may_connect(each)]
            if refused or not addresses:
                # A name that leads inside and outside is one of an attack, or of a mistake.
                raise NotFetched("its host has an address inside of a network, or none")
            failed: Exception = httpcore2.ConnectError()
            for each in addresses:
                try:
                    stream = await super().connect_tcp(
                        each, port, timeout, local_address, socket_options
                    )
                except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                    failed = error
                    continue
                opened.append(stream)
                return stream
            raise failed

    return _CheckedNetwork()
