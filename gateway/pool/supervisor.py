"""The local pool: worker processes, spawned, watched and restarted."""

import asyncio
import contextlib
import importlib
import logging
import multiprocessing
import signal
import socket
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess

from gateway.pool import Listener, PoolFailed, WorkerStatus
from gateway.pool.link import WorkerLink
from gateway.pool.placement import choose
from workers.protocol import Broken, Generate, Load, ModelInfo, Ready, Step, WorkerSpec

log = logging.getLogger("forge.pool")

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 30.0
STOP_S = 5.0
"""How long a worker may take to end after its link was closed, before it is killed."""

_spawn = multiprocessing.get_context("spawn")  # never fork: llama.cpp has threads


def _enter(sock: socket.socket, spec: WorkerSpec) -> None:
    """Runs in the child. Imported by name there, so that the gateway never imports the engine."""
    importlib.import_module("workers.__main__").main(sock, spec)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """A child inherits this, so that Ctrl-C can't end it before it ignores the signal itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """One place in the pool: a process at a time, and a new one when it dies."""

    def __init__(self, id_: int) -> None:
        # Pool lifetime.
        self.id = id_
        self.restarts = 0
        # Process lifetime.
        self.process: SpawnProcess | None = None
        self.link: WorkerLink | None = None
        self.closed = asyncio.Event()

    @property
    def credits(self) -> int:
        return self.link.credits if self.link else 0

    @property
    def ready(self) -> bool:
        return self.link is not None and self.link.ready is not None


class LocalPool:
    """Implements :class:`gateway.pool.Pool` with processes of this machine."""

    def __init__(self, spec: WorkerSpec, count: int) -> None:
        self._spec = spec
        self._workers = [Worker(id_) for id_ in range(count)]
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: Listener | None = None
        self._first_ready: asyncio.Future[None] | None = None
        self._draining = False
        self._stopping = asyncio.Event()
        self.model: ModelInfo | None = None

    async def start(self, listener: Listener) -> None:
        """Returns when the first worker is ready. Raises :class:`PoolFailed`."""
        self._listener = listener
        self._first_ready = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._supervise(w)) for w in self._workers]
        await self._first_ready

    def ready(self) -> bool:
        return any(worker.ready for worker in self._workers)

    def free(self) -> int:
        return sum(worker.credits for worker in self._workers)

    def submit(self, request: Generate) -> None:
        links = {worker.id: worker.link for worker in self._workers if worker.link is not None}
        home = next((id_ for id_, link in links.items() if request.id in link.parked), None)
        target = choose({id_: link.credits for id_, link in links.items()}, home)
        if target is None:
            raise RuntimeError("no worker has a free credit")
        if home is not None and home != target:
            links[home].cancel(request.id)  # it goes on elsewhere, from its tokens
        links[target].generate(request)

    def cancel(self, id_: int) -> None:
        for worker in self._workers:
            if worker.link is not None:
                worker.link.cancel(id_)

    def park(self, id_: int) -> None:
        for worker in self._workers:
            if worker.link is not None and id_ in worker.link.in_flight:
                worker.link.park(id_)

    def drain(self) -> None:
        self._draining = True

    def workers(self) -> list[WorkerStatus]:
        return [self._status(worker) for worker in self._workers]

    async def stop(self) -> None:
        self._stopping.set()
        for worker in self._workers:
            if worker.process is not None and not worker.ready:
                worker.process.kill()  # busy loading its model, and deaf until that is done
            if worker.link is not None:
                worker.link.close()
        await asyncio.gather(*self._tasks)

    def _status(self, worker: Worker) -> WorkerStatus:
        link, process = worker.link, worker.process
        if link is None or process is None:
            state = "dead"
        elif link.ready is None:
            state = "starting"
        else:
            state = "draining" if self._draining else "ready"
        return WorkerStatus(
            id=worker.id,
            pid=process.pid if process else None,
            state=state,
            slots=self._spec.slots,
            busy=len(link.in_flight) if link else 0,
            restarts=worker.restarts,
            load=link.load if link else Load(),
        )

    # ------------------------------------------------------------------ one worker's life

    async def _supervise(self, worker: Worker) -> None:
        """Keep one process running; pause longer after each failure to get ready."""
        pause = BACKOFF_FIRST_S
        while True:
            was_ready, reason = await self._live(worker)
            if self._stopping.is_set() or self._fail_start(reason):
                return
            if was_ready:
                pause = BACKOFF_FIRST_S
            log.error("worker %d: %s; restarting in %.2f s", worker.id, reason, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            pause = min(2 * pause, BACKOFF_MAX_S)
            worker.restarts += 1

    async def _live(self, worker: Worker) -> tuple[bool, str]:
        """One process from its start to its end: whether it got ready, and how it ended."""
        try:
            link = await self._spawn(worker)
        except OSError as error:
            return False, f"a worker can't be started: {error}"
        if self._stopping.is_set():
            link.close()  # stop() came before there was anything to close
        await worker.closed.wait()
        code = await self._reap(worker)
        doing = "" if link.ready is not None else " while loading the model"
        return link.ready is not None, f"a worker ended with exit code {code}{doing}"

    async def _spawn(self, worker: Worker) -> WorkerLink:
        """Start a process and connect to it. Raises OSError if the system has no room for it."""
        ours, theirs = socket.socketpair()
        process = _spawn.Process(
            target=_enter, args=(theirs, self._spec), name=f"forge-worker-{worker.id}"
        )
        try:
            with theirs, _signals_blocked():
                # In the loop's own thread: on Linux a worker dies with the thread that started it.
                process.start()
        except OSError:
            ours.close()
            raise
        worker.process = process
        worker.closed.clear()
        ours.setblocking(False)
        link = worker.link = WorkerLink(
            lambda link, message: self._on_message(worker, link, message),
            lambda link: self._on_closed(worker, link),
        )
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
        return link

    async def _reap(self, worker: Worker) -> int | None:
        """Wait for the process to end after EOF, with force if need be; its exit code."""
        process = worker.process
        assert process is not None
        await asyncio.to_thread(process.join, STOP_S)
        if process.is_alive():
            process.kill()
            await asyncio.to_thread(process.join)
        worker.process = None
        return process.exitcode

    # ------------------------------------------------------------------ what a worker says

    def _on_message(self, worker: Worker, link: WorkerLink, message: Ready | Broken | Step) -> None:
        assert self._listener is not None
        if isinstance(message, Step):
            ended = False
            for event in message.events:
                self._listener.on_event(event)
                ended = ended or event.id not in link.in_flight
            if ended:
                self._listener.on_credit()
        elif isinstance(message, Ready):
            log.info("worker %d (pid %d) is ready", worker.id, message.pid)
            self.model = message.model
            if self._first_ready is not None and not self._first_ready.done():
                self._first_ready.set_result(None)
            self._listener.on_credit()
        elif not self._fail_start(message.message):
            log.error("worker %d can't serve: %s", worker.id, message.message)

    def _on_closed(self, worker: Worker, link: WorkerLink) -> None:
        """EOF: everything the worker said has been heard, so its death may take effect."""
        worker.link = None
        worker.closed.set()
        if link.in_flight and not self._stopping.is_set():
            assert self._listener is not None
            self._listener.on_lost(list(link.in_flight))

    def _fail_start(self, reason: str) -> bool:
        """Before any worker was ever ready, trying again would only hide a bad configuration.

        Returns whether that is the case; then ``reason`` is why :meth:`start` failed.
        """
        if self.model is not None:
            return False
        if self._first_ready is not None and not self._first_ready.done():
            self._first_ready.set_exception(PoolFailed(reason))
        return True
