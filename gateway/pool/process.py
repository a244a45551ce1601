"""One worker process: spawned, connected, killed if need be, and reaped."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

from gateway.pool import entry
from gateway.pool.entry import Inherited, Main
from gateway.pool.hosting import Node
from gateway.pool.link import WorkerLink
from gateway.pool.watchdog import Watchdog
from workers.protocol import Report, WorkerSpec, children

STOP_S = 5.0
"""Time that a worker may take to end after its link was closed, before it is killed."""
EOF_S = 1.0
"""Time after a process's death that its link may stay open: something it started may hold it."""

_spawn = multiprocessing.get_context("spawn")  # never fork: llama.cpp has threads


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A child inherits this, so that Ctrl-C can't end it before it ignores the signal itself."""
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _workers_environment() -> Iterator[None]:
    """A spawned child inherits this process's variables at that moment, and no others can be given.

    Without them it would look for modules in the current directory first, whatever its path says.
    """
    wanted = children.worker_variables()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class WorkerProcess:
    """From its start to its end."""

    def __init__(
        self,
        name: str,
        main: Main,
        spec: WorkerSpec,
        watchdog: Watchdog,
        on_message: Callable[[WorkerLink, Report], None],
        on_closed: Callable[[WorkerLink], None],
        inherited: Sequence[Inherited] = (),
    ) -> None:
        """``on_closed`` is called after everything that the worker wrote has been handed over.

        ``inherited``: the model's files, if not to be opened by name.
        """
        self.link = WorkerLink(on_message, self._on_eof, watchdog)
        self._on_closed = on_closed
        self._ours, self._theirs = socket.socketpair()
        self._process = _spawn.Process(
            target=entry.enter, args=(main, self._theirs, spec, inherited), name=name
        )
        self.killed = False
        """True if :meth:`kill` was called."""
        self._died = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def linked(self) -> bool:
        """Return whether it may still say something."""
        return not self._closed.is_set()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def node(self) -> Node | None:
        return None

    @property
    def download(self) -> None:
        return None  # the model is here before any process is

    @property
    def waiting(self) -> bool:
        return False

    @property
    def alive(self) -> bool:
        """Return whether it runs, as far as the system has told."""
        return not self._died.is_set()

    async def start(self) -> None:
        """Returns when it runs, long before it is ready. Raises OSError if there is no room."""
        self.spawn()
        await self._connect()

    def spawn(self) -> None:
        """Start it, and don't listen to it yet. Raises OSError if there is no room."""
        try:
            with self._theirs, _signals_blocked(), _workers_environment():
                # In the loop's own thread: on Linux a worker dies with the thread that started it.
                self._process.start()
        except OSError:
            self._ours.close()
            raise
        asyncio.get_running_loop().add_reader(self._process.sentinel, self._on_death)

    async def wake(self) -> None:
        """Tell a process of :func:`spare_engine` to serve. Raises OSError if it hung up."""
        self._ours.send(b"!")
        await self._connect()

    async def _connect(self) -> None:
        self._ours.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.link, sock=self._ours)

    async def discard(self) -> None:
        """End a process that was not woken, and hides nothing that is worth reading."""
        self._ours.close()
        self._process.kill()
        if await self._dies():
            self._process.join()
            self._process.close()

    def kill(self) -> None:
        """End it, whatever it does. Its last frames are still read."""
        if self.pid is None:
            return  # not even started
        self.killed = True
        self._process.kill()
        # One that hangs in the kernel can't even die; its work must go on all the same.
        asyncio.get_running_loop().call_later(EOF_S, self.link.close)

    async def end(self) -> int | None:
        """Wait until the process has ended, with force if it hung up and stays; its exit code.

        None for one that hangs in the kernel: it can't be ended, and should not be waited for.
        """
        await self._closed.wait()
        if not await self._dies():
            self._process.kill()
            if not await self._dies():
                return None
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        return code

    async def _dies(self) -> bool:
        """Return whether it does within STOP_S."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._died.wait()
        return self._died.is_set()

    def _on_eof(self, link: WorkerLink) -> None:
        self._closed.set()
        self._on_closed(link)

    def _on_death(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._process.sentinel)
        self._died.set()
        if not self._closed.is_set():  # what it wrote before is still in the link
            loop.call_later(EOF_S, self.link.close)
