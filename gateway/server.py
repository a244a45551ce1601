"""uvicorn with our own end: SIGTERM drains, and the listener answers 503 meanwhile."""

import asyncio
import contextlib
import functools
import gc
import signal
import socket
import ssl
from collections.abc import Callable, Generator, Sequence

import uvicorn

from gateway.app import Gateway
from gateway.banner import banner
from gateway.config.api_keys import Keyring
from gateway.config.config import Config
from gateway.http.connection import Connection
from gateway.http.open_files import connections_allowed
from gateway.http.terms import LINGER_S, Terms
from gateway.pool import Pool, PoolFailed
from gateway.served.memory_budget import MemoryBudget
from gateway.served.setup import Setup
from gateway.system.hangup import Hangup
from gateway.system.service_manager import ServiceManager

LAST_WRITES_S = 5
"""Time that finished responses may take to reach slow clients before the process ends."""


class Server(uvicorn.Server):
    """uvicorn closes its listeners at the first signal; this one first drains the gateway."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Gateway,
        terms: Terms,
        manager: ServiceManager,
        hangup: Hangup,
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._manager = manager
        self._hangup = hangup
        self._terms = terms
        self._drain: asyncio.Task[None] | None = None
        connections = self.server_state.connections
        registry = gateway.metrics.registry
        registry.gauge("connections", "Connections open", lambda: len(connections))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. uvicorn's own way has no limits on a TLS handshake and its end."""
        config = self.config

        def connection() -> Connection:
            return Connection(config, self.server_state, {}, terms=self._terms)

        listen = functools.partial(
            asyncio.get_running_loop().create_server, connection, backlog=config.backlog
        )
        if config.ssl is not None:
            listen = functools.partial(
                listen,
                ssl=config.ssl,
                ssl_handshake_timeout=self._terms.header_timeout,
                ssl_shutdown_timeout=LINGER_S,
            )
        self.servers = [await listen(sock=sock) for sock in sockets or []]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Without uvicorn's replay of the signal at the end: a drained server exits with 0."""
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGINT: self._on_signal,
            signal.SIGTERM: self._on_signal,
            signal.SIGHUP: self._on_hangup,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the end has begun: there is no other one

    def _on_hangup(self) -> None:
        """Reload; or end, if the terminal that the server was started in is gone."""
        match self._hangup.meaning():
            case "reload":
                self._gateway.reloader.signalled()
            case "end" if self._drain is None:
                self._on_signal()

    def _on_signal(self) -> None:
        """The first signal drains, the second ends at once."""
        if self._drain is None:
            self._drain = asyncio.create_task(self._drain_and_exit())
        else:
            self._gateway.abandon()
            self.should_exit = self.force_exit = True

    async def _drain_and_exit(self) -> None:
        self._manager.stopping("finishes what runs, takes nothing new")
        await self._gateway.drain(self._gateway.live_config.now.drain_timeout)
        self.should_exit = True


def _settings(gateway: Gateway, tls: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        gateway.app(),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # clients are told apart by keys, not by addresses
        timeout_graceful_shutdown=LAST_WRITES_S,
        # The files were read and checked before; given their names, uvicorn would read them again.
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )


async def serve(
    config: Config,
    socks: Sequence[socket.socket],
    keyring: Keyring,
    tls: ssl.SSLContext | None,
    pool: Pool | None = None,
    plan: MemoryBudget | None = None,
    manager: ServiceManager | None = None,
    read: Callable[[], Setup] | None = None,
    hangup: Hangup | None = None,
) -> str | None:
    """Serve on bound sockets until a signal. Returns None, or why no worker could start.

    Raises ConfigError if there is no place for what the server should store.

    ``pool`` replaces the local pool of processes; ``plan``: several models, instead of the one;
    ``manager``: hears when the server is ready, lives and ends. ``read``: the sources of all this,
    for a reload; ``hangup``: what SIGHUP means.
    """
    manager = manager or ServiceManager()
    gateway = Gateway(config, keyring, pool, plan, read=read)
    await gateway.open()
    terms = Terms(
        config.header_timeout,
        config.idle_timeout,
        connections_allowed(config.max_connections),
        gateway.respond,
    )
    server = Server(_settings(gateway, tls), gateway, terms, manager, hangup or Hangup())
    serving = asyncio.create_task(server.serve(sockets=list(socks)))
    starting = asyncio.create_task(gateway.start())
    alive = asyncio.create_task(manager.keep_alive())
    manager.status("loads the model")
    try:
        await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not serving.done():
            try:
                starting.result()
            except PoolFailed as failure:
                server.should_exit = True
                await serving
                manager.status(f"could not start: {failure}")
                return None if gateway.registry.draining else str(failure)
            address = url(socks[0], tls is not None)
            _announce(gateway, address, manager)
            gateway.reloader.tells(
                lambda: manager.reloading("reloads"),
                lambda how: manager.ready(f"serves at {address}; last reload: {how}"),
            )
            await _until_broken(gateway, serving)
        await serving
        return None
    finally:
        starting.cancel()
        await gateway.stop()
        alive.cancel()


def _announce(gateway: Gateway, address: str, manager: ServiceManager) -> None:
    """Tell operators that the server is ready."""
    gc.freeze()  # what is there by now stays: the collector need not look at it again
    needs_key = not gateway.keyring.open
    print(banner(gateway.config, gateway.registry.models, address, needs_key), flush=True)
    manager.ready(f"serves at {address}")


async def _until_broken(gateway: Gateway, serving: asyncio.Task[None]) -> None:
    """Wait for the end. Raises the bug that ends a dispatch loop before."""
    broken = asyncio.create_task(gateway.broken())
    await asyncio.wait({serving, broken}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        broken.result()  # raises: better to end than to accept what is never served
    broken.cancel()


def url(sock: socket.socket, tls: bool) -> str:
    """Return the URL at which clients on this machine reach the server."""
    host, port = sock.getsockname()[:2]
    scheme = "https" if tls else "http"
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
