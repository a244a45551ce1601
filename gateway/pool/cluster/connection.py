"""The TCP connection of one worker between the driver and its actor: offered, and made once.

The actor listens on its node's address, and Ray brings the driver the port and a secret. Of all
that connects, one shows the first half of the secret and gets the second half for an answer; then
nothing listens any more. What shows nothing is dropped after a while, or for the sake of a
newcomer where many do that, so that no stranger is in the driver's way.

Where Ray's own connections have TLS, so has this one, with the same files: each side shows a
certificate of the authority that both trust. A name in it is not compared, since each certificate
is a node's, and the secret says which of them it is.
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
import ssl
from collections.abc import Mapping
from typing import Any, cast

HALF = 16
"""Bytes of the secret that each side shows the other."""
CONNECT_S = 10.0
"""Seconds that the driver has to connect."""
GREETING_S = 5.0
"""Seconds that a connection has to show what it knows, TLS included."""
MOST_STRANGERS = 64
"""Connections that have shown nothing yet; for one more the oldest is dropped."""
PATIENCE = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPALIVE": 10,  # macOS's name of that
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": 30_000,  # Linux has it; while bytes have no answer nothing is probed
}
"""The options, where a system has them, by which it notices within 30 s that a machine is gone:
after 10 s of silence it probes four times."""
TLS_FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def tls_context(environ: Mapping[str, str], *, server: bool) -> ssl.SSLContext | None:
    """Return a context with Ray's own files; None where Ray has no TLS. Raises OSError."""
    if environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):  # as Ray reads it
        return None
    for name in TLS_FILES:
        if name not in environ:
            raise OSError(f"RAY_USE_TLS is set, and {name} is not")
    certificate, key, authority = (environ[name] for name in TLS_FILES)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
    except OSError as error:
        raise OSError(f"{', '.join(TLS_FILES)}: {error}") from error
    return context


class ConnectionListener:
    """Waits for the one connection that knows the secret."""

    def __init__(self, address: str, tls: ssl.SSLContext | None) -> None:
        """``address``: of this machine. Raises OSError if it is not."""
        self._sock = socket.create_server((address, 0), family=_family(address))
        self._sock.setblocking(False)
        _tune(self._sock)  # what is accepted inherits it
        self.port: int = self._sock.getsockname()[1]
        self.secret = secrets.token_bytes(2 * HALF)
        self._tls = tls
        self._strangers: dict[asyncio.Task[None], None] = {}
        """The oldest first."""
        self._found: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
        self._accepting = asyncio.create_task(self._accept())
        self._accepting.add_done_callback(lambda task: self._sock.close())  # though it never began
        self._waiting = asyncio.create_task(self._wait())
        self._waiting.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def connection(self) -> asyncio.Transport:
        """Return the driver's connection, paused. Raises OSError if it does not come."""
        return await self._waiting

    def close(self) -> None:
        """Listen no more, and end the connection."""
        self._waiting.cancel()
        self._accepting.cancel()
        if self._found.done():
            self._found.result().abort()

    async def _wait(self) -> asyncio.Transport:
        try:
            either: set[asyncio.Future[Any]] = {self._found, self._accepting}
            await asyncio.wait(either, timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED)
            if self._accepting.done():
                self._accepting.result()  # which raises: it never returns
            if not self._found.done():
                raise OSError(f"the gateway's driver did not connect to port {self.port}")
            return self._found.result()
        finally:
            for each in (self._accepting, *self._strangers):
                each.cancel()

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
            if len(self._strangers) == MOST_STRANGERS:
                oldest = next(iter(self._strangers))
                oldest.cancel()
                del self._strangers[oldest]
            task = asyncio.create_task(self._greet(sock))
            self._strangers[task] = None
            task.add_done_callback(lambda done: self._strangers.pop(done, None))
            await asyncio.sleep(0)  # a flood must not be all that the loop does

    async def _greet(self, sock: socket.socket) -> None:
        """Take a connection if it is the driver's."""
        greeting = Greeting()
        with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
            async with asyncio.timeout(GREETING_S):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: greeting, sock, ssl=self._tls
                )
                undo.callback(greeting.transport.abort)
                shown = await greeting.shown
            if hmac.compare_digest(shown, self.secret[:HALF]) and not self._found.done():
                greeting.transport.write(self.secret[HALF:])
                self._found.set_result(greeting.transport)
                undo.pop_all()


class Greeting(asyncio.Protocol):
    """Takes the first bytes of a connection, and makes the others wait."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.shown: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """Half of a secret, or what came in its place; empty: it hung up."""
        self.problem: Exception | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) >= HALF:
            self.transport.pause_reading()
            self._show(self._data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.problem = exc
        self._show(b"")

    def _show(self, data: bytes) -> None:
        if not self.shown.done():
            self.shown.set_result(data)


async def connect(
    address: str, port: int, secret: bytes, tls: ssl.SSLContext | None
) -> asyncio.Transport:
    """Return the connection to a listener, paused. Raises OSError."""
    try:
        async with asyncio.timeout(CONNECT_S):
            return await _connect((address, port), secret, tls)
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error
        raise OSError(f"port {port} of {address} can't be reached: {reason}") from error


async def _connect(
    at: tuple[str, int], secret: bytes, tls: ssl.SSLContext | None
) -> asyncio.Transport:
    loop, greeting = asyncio.get_running_loop(), Greeting()
    with contextlib.ExitStack() as undo:
        sock = undo.enter_context(socket.socket(_family(at[0])))
        sock.setblocking(False)
        _tune(sock)
        await loop.sock_connect(sock, at)
        await loop.create_connection(
            lambda: greeting, sock=sock, ssl=tls, server_hostname=None if tls is None else at[0]
        )
        undo.pop_all()  # the socket is the transport's now
        undo.callback(greeting.transport.abort)
        greeting.transport.write(secret[:HALF])
        shown = await greeting.shown
        if not shown:
            raise greeting.problem or ConnectionError("it hung up")
        if not hmac.compare_digest(shown, secret[HALF:]):
            raise ConnectionError("something else answers there")
        undo.pop_all()
        return greeting.transport


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _tune(sock: socket.socket) -> None:
    """Have the kernel notice a machine that is gone, and send small frames at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PATIENCE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
