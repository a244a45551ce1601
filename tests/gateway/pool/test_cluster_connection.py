"""The connection between a driver and an actor, against strangers: real sockets, both loops."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.pool.cluster import connection
from gateway.pool.cluster.connection import HALF, ConnectionListener, connect, tls_context
from gateway.pool.cluster.relay import relay
from tests.support.server import DEADLINE_S

pytestmark = pytest.mark.anyio
HERE = "127.0.0.1"
MANY = 3 << 20
Env = Mapping[str, str]
NO_TLS: Env = {}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The driver's loop, and an actor's."""
    return "asyncio", {"use_uvloop": request.param}


def node(folder: Path, authority: trustme.CA) -> Env:
    """Return the environment of a node that Ray's TLS is on for."""
    folder.mkdir()
    issued = authority.issue_cert("10.1.2.3")  # of an address that it has no more
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    own = str(folder / "own.pem")
    return {
        "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": own, "RAY_TLS_SERVER_KEY": own,
        "RAY_TLS_CA_CERT": str(folder / "ca.pem"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Env, Env, Env]:
    """Two nodes of one authority, and one of another."""
    folder, authority = tmp_path_factory.mktemp("nodes"), trustme.CA()
    first, second = node(folder / "a", authority), node(folder / "b", authority)
    return first, second, node(folder / "c", trustme.CA())


@asynccontextmanager
async def listening(environ: Env = NO_TLS) -> AsyncIterator[ConnectionListener]:
    listener = ConnectionListener(HERE, tls_context(environ, server=True))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield listener
    finally:
        listener.close()
        await asyncio.wait({listener._waiting})


async def driver(listener: ConnectionListener, environ: Env = NO_TLS) -> asyncio.Transport:
    """Connect as the driver does."""
    tls = tls_context(environ, server=False)
    return await connect(HERE, listener.port, listener.secret, tls)


async def stranger(
    listener: ConnectionListener, says: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(HERE, listener.port)
    writer.write(says)
    return reader, writer


async def is_dropped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Wait for the end of a stranger's connection, on which nothing was said."""
    try:
        said = await reader.read()
    except ConnectionError:
        said = b""
    writer.close()
    return not said


async def works(listener: ConnectionListener, environ: Env = NO_TLS) -> None:
    """The driver connects, bytes cross both ways, and nothing else is let in."""
    ours = await driver(listener, environ)
    theirs = await listener.connection()
    loop = asyncio.get_running_loop()
    ends, relays = [], []
    for transport in (ours, theirs):
        near, end = socket.socketpair()
        for each in (near, end):
            each.setblocking(False)
        ends.append(end)
        relays.append(await relay(near, transport))
    data = os.urandom(MANY)
    for writer, reader in (ends, ends[::-1]):
        sending = asyncio.create_task(loop.sock_sendall(writer, data))
        found = bytearray()
        while len(found) < MANY:
            found += await loop.sock_recv(reader, 1 << 16)
        await sending
        assert found == data
    with pytest.raises(OSError, match="can't be reached"):
        await driver(listener, environ)
    ends[0].close()  # the gateway hangs up
    assert await loop.sock_recv(ends[1], 1) == b""
    ends[1].close()  # so the worker ends
    for carrying in relays:
        await carrying.closed()


async def test_the_driver_connects_once() -> None:
    async with listening() as listener:
        await works(listener)


async def test_secrets_are_new_each_time() -> None:
    async with listening() as one, listening() as two:
        assert len(one.secret) == len(two.secret) == 2 * HALF == 32
        assert one.secret != two.secret
        with pytest.raises(OSError, match="it hung up"):
            await connect(HERE, two.port, one.secret, None)
        await works(two)
        await works(one)


async def test_strangers_are_not_in_the_way() -> None:
    """Whatever they say, and however many say nothing."""
    async with listening() as listener:
        silent = [await stranger(listener) for _ in range(connection.MOST_STRANGERS + 10)]
        rude = [b"GET / HTTP/1.1\r\n\r\n", bytes(HALF), listener.secret[HALF:], bytes(1 << 20)]
        rude += [listener.secret[:HALF] + b"!"]
        for says in rude:
            assert await is_dropped(*await stranger(listener, says))
        hasty = await stranger(listener, listener.secret[: HALF - 1])
        await works(listener)
        for each in (*silent, hasty):
            assert await is_dropped(*each)


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "GREETING_S", 0.02)
    async with listening() as listener:
        assert await is_dropped(*await stranger(listener))
        monkeypatch.undo()
        await works(listener)


async def test_a_driver_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.02)
    async with listening() as listener:
        with pytest.raises(OSError, match=f"did not connect to port {listener.port}"):
            await listener.connection()
        with pytest.raises(OSError, match="can't be reached"):
            await driver(listener)


async def test_a_listener_that_is_given_up() -> None:
    async with listening() as listener:
        ours = await driver(listener)
        near, end = socket.socketpair()
        with end:
            end.setblocking(False)
            found = await relay(near, ours)
            listener.close()
            assert await asyncio.get_running_loop().sock_recv(end, 1) == b""
        await found.closed()


async def test_something_else_answers() -> None:
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        connecting = asyncio.create_task(connect(HERE, port, os.urandom(2 * HALF), None))
        server.setblocking(False)
        answering, _ = await asyncio.get_running_loop().sock_accept(server)
        with answering:
            answering.sendall(bytes(HALF))
            with pytest.raises(OSError, match="something else answers there"):
                await connecting


async def test_a_node_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.02)
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of {HERE} can't be reached: no answer"):
            await connect(HERE, port, os.urandom(2 * HALF), None)


async def test_an_address_of_another_machine() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        ConnectionListener("203.0.113.1", None)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has it not")
async def test_a_machine_that_vanishes_is_noticed() -> None:
    """By the kernel, on both sides, which these options tell to ask."""
    async with listening() as listener:
        ours = await driver(listener)
        theirs = await listener.connection()
        for transport in (ours, theirs):
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
                    number = getattr(socket, name)
                    told = sock.getsockopt(socket.IPPROTO_TCP, number)
                    assert told == connection.PATIENCE[name]
            transport.abort()


# ---------------------------------------------------------------------- TLS


async def test_where_ray_has_tls(nodes: tuple[Env, Env, Env]) -> None:
    async with listening(nodes[0]) as listener:
        await works(listener, nodes[1])


async def test_a_node_of_another_authority(nodes: tuple[Env, Env, Env]) -> None:
    """Neither side takes the other, and the right one still comes in."""
    async with listening(nodes[0]) as listener:
        with pytest.raises(OSError, match="certificate verify failed"):
            await driver(listener, nodes[2])
        trusting = {**nodes[2], "RAY_TLS_CA_CERT": nodes[0]["RAY_TLS_CA_CERT"]}
        with pytest.raises(OSError, match="can't be reached"):  # its own is not trusted
            await driver(listener, trusting)
        await works(listener, nodes[1])


async def test_a_client_without_a_certificate(nodes: tuple[Env, Env, Env]) -> None:
    async with listening(nodes[0]) as listener:
        tls = ssl.create_default_context(cafile=nodes[0]["RAY_TLS_CA_CERT"])
        tls.check_hostname = False
        with pytest.raises(OSError, match="can't be reached"):
            await connect(HERE, listener.port, listener.secret, tls)
        with pytest.raises(OSError, match="can't be reached"):
            await driver(listener)
        await works(listener, nodes[1])


async def test_tls_to_a_node_without(nodes: tuple[Env, Env, Env]) -> None:
    async with listening() as listener:
        with pytest.raises(OSError, match="can't be reached"):
            await driver(listener, nodes[0])
        await works(listener)


def test_files_that_are_not_there(nodes: tuple[Env, Env, Env]) -> None:
    assert tls_context({"RAY_USE_TLS": "0"}, server=True) is None
    with pytest.raises(OSError, match="RAY_USE_TLS is set, and RAY_TLS_SERVER_CERT is not"):
        tls_context({"RAY_USE_TLS": "true"}, server=True)
    missing = {**nodes[0], "RAY_TLS_CA_CERT": "/nowhere/ca.crt"}
    with pytest.raises(OSError, match=r"RAY_TLS_CA_CERT: .*No such file"):
        tls_context(missing, server=False)
