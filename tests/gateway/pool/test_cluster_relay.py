"""Bytes between a TCP connection and a local socket: whole, in order, and bounded. Both loops."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.pool.cluster.relay import Relay, relay
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio
READ_BYTES = 4000
MANY = 3 << 20
"""Bytes, more than all buffers of the kernel on the way."""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The driver's loop, and an actor's."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket, socket.socket, socket.socket]]:
    """A local pair, and a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    worker, near = socket.socketpair()
    for each in (worker, near, far, peer):
        each.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            each.setsockopt(socket.SOL_SOCKET, option, 1 << 16)
    with worker, near, far, peer:
        yield worker, near, far, peer


Sockets = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


@asynccontextmanager
async def relayed(sockets: Sockets) -> AsyncIterator[tuple[socket.socket, socket.socket, Relay]]:
    """Yield the outer ends of what a relay joins, and the relay."""
    worker, near, far, peer = sockets
    found = await relay(near, await paused(far))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield worker, peer, found
    finally:
        found.abort()
        await found.closed()


async def paused(sock: socket.socket) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    transport: asyncio.Transport
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    transport.pause_reading()
    return transport


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def rest(sock: socket.socket) -> bytes:
    """Return what comes until the end, read in small pieces."""
    found = bytearray()
    while data := await asyncio.get_running_loop().sock_recv(sock, READ_BYTES):
        found += data
    return bytes(found)


async def exactly(sock: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        wanted = min(READ_BYTES, size - len(found))
        found += await asyncio.get_running_loop().sock_recv(sock, wanted)
    return bytes(found)


async def until_paused(transport: asyncio.Transport) -> None:
    while transport.is_reading():  # noqa: ASYNC110 (no event tells)
        await asyncio.sleep(0.001)


async def test_megabytes_cross_both_ways_at_once(sockets: Sockets) -> None:
    there, back = random.Random(1).randbytes(MANY), random.Random(2).randbytes(MANY)
    async with relayed(sockets) as (worker, peer, _):
        found = await asyncio.gather(
            exactly(peer, MANY), exactly(worker, MANY), send(worker, there), send(peer, back)
        )
    assert found[0] == there
    assert found[1] == back


@pytest.mark.parametrize("outward", [True, False])
async def test_a_reader_that_does_not_read_holds_the_writer(
    sockets: Sockets, outward: bool
) -> None:
    """A buffer lies here, whatever was to be sent; then all of it comes."""
    data = random.Random(3).randbytes(MANY)
    async with relayed(sockets) as (worker, peer, found):
        writer, reader = (worker, peer) if outward else (peer, worker)
        ends = (found.near, found.far) if outward else (found.far, found.near)
        sending = asyncio.create_task(send(writer, data))
        await until_paused(ends[0].transport)
        assert not sending.done()
        assert 0 < ends[1].transport.get_write_buffer_size() < 1 << 20
        assert await exactly(reader, MANY) == data
        await sending


@pytest.mark.parametrize("outward", [True, False])
async def test_the_last_bytes_come_before_the_end(sockets: Sockets, outward: bool) -> None:
    """Also while the other side still writes: what it wrote in vain takes nothing back."""
    data = random.Random(4).randbytes(MANY)
    async with relayed(sockets) as (worker, peer, found):
        writer, reader = (worker, peer) if outward else (peer, worker)
        sending = asyncio.create_task(send(writer, data))
        await until_paused((found.near if outward else found.far).transport)
        await send(reader, b"in vain" * 1000)
        assert await exactly(reader, MANY // 2) == data[: MANY // 2]
        await send(reader, b"in vain" * 1000)
        rest_of_it = asyncio.create_task(rest(reader))
        await sending
        writer.shutdown(socket.SHUT_WR)
        assert await rest_of_it == data[MANY // 2 :]
        await found.ended()
        reader.close()
        writer.close()
        await found.closed()


@pytest.mark.parametrize("outward", [True, False])
async def test_a_connection_that_is_cut(sockets: Sockets, outward: bool) -> None:
    """The other side sees the end, whatever was on the way."""
    async with relayed(sockets) as (worker, peer, found):
        victim, other = (peer, worker) if outward else (worker, peer)
        sending = asyncio.create_task(send(other, bytes(MANY)))
        await until_paused((found.near if outward else found.far).transport)
        victim.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        victim.close()
        await found.ended()
        await sending  # nothing takes it any more, and nothing waits for it
        assert await rest(other) == b""
        other.close()
        await found.closed()


async def test_a_connection_that_is_gone_before(sockets: Sockets) -> None:
    worker, near, far, _ = sockets
    transport = await paused(far)
    transport.abort()
    async with asyncio.timeout(DEADLINE_S):
        found = await relay(near, transport)
        assert await rest(worker) == b""
        worker.close()
        await found.closed()
