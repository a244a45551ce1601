"""A pool whose workers run on the nodes of a cluster."""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence

import msgspec

from gateway.core.byte_sizes import readable
from gateway.pool import Download, FileState, Listener
from gateway.pool.cluster.control import (
    AT_THEIR_PATHS,
    FileSources,
    Need,
    OfChannel,
    WorkerEnded,
    WorkerFetching,
    WorkerLeaving,
    WorkerRefused,
    WorkerRunning,
    WorkerWaiting,
)
from gateway.pool.cluster.membership import Cluster
from gateway.pool.held_files import HeldFiles
from gateway.pool.hosting import HostedProcess, Node, NotThere, WorkerPlace
from gateway.pool.link import WorkerLink
from gateway.pool.scaling import Demand, PoolLoad, Scaler
from gateway.pool.supervisor import SupervisedPool
from gateway.pool.worker import Worker
from workers.protocol import ANY_TIME, AdapterFile, WorkerSpec, encode

log = logging.getLogger("forge.pool")

STOP_S = 10.0
"""Time that a worker's end may take to be told after its link was closed, before it is forced."""
LEAVING_S = 30.0
"""Seconds that a node is believed to have left if it is not told."""
MOVE_S = 5.0
"""Seconds before a node's end at which what still runs there goes on elsewhere."""
LOST_S, LOST_TIMES = 0.5, 5
"""Pause after a node was lost before its worker ran, and how often that is tried at once: Ray may
place an actor on a node whose death it has not noticed. An actor that can't be made at all, for
want of Forge or another version of Python, ends the same way."""
SCALE_S = 1.0
"""Between two looks at what waits."""
TOLD_S = 10.0
"""Seconds between two lines of the log about a file that comes."""
EOF_S = 1.0
"""Time after which the link of a killed worker is closed: its node may not answer."""


class NodeLost(OSError):
    """The node of a worker was lost before its process ran."""


class RemoteProcess:
    """A worker on a node. Implements :class:`gateway.pool.hosting.HostedProcess`."""

    def __init__(self, host: "ClusterHost", place: WorkerPlace, spec: WorkerSpec) -> None:
        self.link = WorkerLink(place.on_message, self._on_eof, place.watchdog)
        self.killed = False
        self._host = host
        self._number = place.number
        self._spec = spec
        self._on_closed = place.on_closed
        self._starting: asyncio.Task[socket.socket] | None = None
        self._channel: int | None = None
        loop = asyncio.get_running_loop()
        self._launched: asyncio.Future[OfChannel] = loop.create_future()
        """Its process and node, or the end before it had any."""
        self._ended: asyncio.Future[int | None] = loop.create_future()
        """Its exit code, if that is known."""
        self._fetching: WorkerFetching | None = None
        """The last word about a file that its node gets for it."""
        self._told_at = -TOLD_S
        """The loop's time at which the log had a line of that."""
        self.placeless = False
        """True: it was told to wait for a node."""
        self.leaves_at: float | None = None
        """The loop's time at which its node goes away, once that was told."""
        self._connected = False
        self._closed = asyncio.Event()

    @property
    def linked(self) -> bool:
        return self._connected and not self._closed.is_set()

    @property
    def waiting(self) -> bool:
        return not self._connected and not self.killed

    @property
    def _running(self) -> WorkerRunning | None:
        told = self._launched.result() if self._launched.done() else None
        return told if isinstance(told, WorkerRunning) else None

    @property
    def pid(self) -> int | None:
        return None if self._running is None else self._running.pid

    @property
    def node(self) -> Node | None:
        place = self._running or self._fetching
        return None if place is None else Node(place.node, place.address)

    @property
    def download(self) -> Download | None:
        fetching = None if self._launched.done() else self._fetching
        if fetching is None:
            return None
        return Download(fetching.file, fetching.done, fetching.total)

    async def start(self) -> None:
        """Return when it runs, which may take until a node joins that has room for it."""
        self._starting = asyncio.create_task(self._start())
        try:
            sock = await self._starting
        except asyncio.CancelledError:
            if self.killed:
                raise OSError("it was given up before it ran") from None
            raise
        loop = asyncio.get_running_loop()
        self._connected = True
        await loop.create_unix_connection(lambda: self.link, sock=sock)

    async def _start(self) -> socket.socket:
        """Return our end of its link. Raises OSError."""
        await self._host.cluster.joined()
        self._channel, sock = self._host.cluster.open(self._number, self._host.need, self)
        try:
            with contextlib.suppress(ConnectionError):  # then its end is told
                frames = encode(self._host.sources) + encode(self._spec)
                await asyncio.get_running_loop().sock_sendall(sock, frames)
            told = await asyncio.shield(self._launched)  # what is heard later is heard all the same
            if isinstance(told, WorkerRefused):
                raise (NotThere if told.lacks else OSError)(told.message)
            if not isinstance(told, WorkerRunning):
                raise NodeLost("its node was lost before it ran")
            self._compare(told)
        except BaseException:
            self._host.cluster.kill(self._channel)
            sock.close()
            raise
        return sock

    def _compare(self, running: WorkerRunning) -> None:
        """Raises NotThere for a worker of another model."""
        try:
            self._host.compare(running)
        except NotThere:  # its actor holds that file open: the next one may find the right one
            self._host.cluster.leave(self._number)
            raise

    def on_control(self, message: OfChannel) -> None:
        """Hear what becomes of it: see :class:`gateway.pool.cluster.membership.Channel`."""
        if isinstance(message, WorkerWaiting):
            log.warning("worker %d waits for a node with %s", self._number, self._host.needed)
            self.placeless = True
        elif isinstance(message, WorkerLeaving):
            left_s = message.left_s if message.left_s >= 0 else LEAVING_S
            self.leaves_at = asyncio.get_running_loop().time() + left_s
        elif isinstance(message, WorkerFetching):
            self._hear_of(message)
        elif isinstance(message, WorkerRunning):
            self._launched.set_result(message)
        else:
            if not self._launched.done():
                self._launched.set_result(message)
            if not self._ended.done():
                self._ended.set_result(message.code if isinstance(message, WorkerEnded) else None)

    def _hear_of(self, fetching: WorkerFetching) -> None:
        """Take a word about a file that comes, and log it now and then."""
        last, self._fetching = self._fetching, fetching
        now, file = asyncio.get_running_loop().time(), fetching.file
        whole = fetching.done == fetching.total
        if now - self._told_at < TOLD_S and last is not None and last.file == file and not whole:
            return
        self._told_at = now
        total = "" if fetching.total is None else f" of {readable(fetching.total)}"
        log.info(
            "worker %d: node %s gets %s: %s%s",
            self._number, fetching.node, file, readable(fetching.done), total,
        )  # fmt: skip

    def kill(self) -> None:
        self.killed = True
        if not self._connected:
            if self._starting is not None:
                self._starting.cancel()
            return
        if self._channel is not None:
            self._host.cluster.kill(self._channel)
        asyncio.get_running_loop().call_later(EOF_S, self.link.close)

    async def end(self) -> int | None:
        await self._closed.wait()
        if not await self._ends() and self._channel is not None:
            self._host.cluster.kill(self._channel)
            await self._ends()
        return self._ended.result() if self._ended.done() else None

    async def _ends(self) -> bool:
        """Return whether its end is told within STOP_S."""
        await asyncio.wait({self._ended}, timeout=STOP_S)
        return self._ended.done()

    def _on_eof(self, link: WorkerLink) -> None:
        self._closed.set()
        self._on_closed(link)


class ClusterHost:
    """The nodes of a cluster. Implements :class:`gateway.pool.hosting.Host`."""

    refusal = None
    """An actor looks at its node's file, and starts no worker on one that was written into."""

    def __init__(self, cluster: Cluster, need: Need, sources: FileSources) -> None:
        self.cluster = cluster
        self.need = need
        self.sources = sources
        self._files = HeldFiles()
        """The gateway's own."""
        self._contents: tuple[bytes, str] | None = None
        """The digest of the model's files here, and where "here" is; without a file here, those of
        the first worker's node."""
        self._numbers = set[int]()
        """Workers that may have places on nodes."""

    @property
    def file_state(self) -> FileState:
        return self._files.state

    @property
    def needed(self) -> str:
        """Return what a worker needs of a node, in words."""
        need = self.need
        found = [f"{need.cpus:g} CPU"]
        found += [f"{need.gpus:g} GPU"] if need.gpus else []
        found += [f"{count:g} {name}" for name, count in need.resources.items()]
        found += [f"{name}={value}" for name, value in need.labels.items()]
        return ", ".join(found)

    async def open(self, spec: WorkerSpec) -> WorkerSpec:
        spec = _absolute(spec)
        await self._files.open(spec.model_path)
        if self._files.contents:
            self._contents = self._files.contents, "the gateway's machine"
        await self.cluster.join()
        return spec

    async def look(self) -> None:
        await self._files.look()

    def process(self, place: WorkerPlace, spec: WorkerSpec) -> RemoteProcess:
        self._numbers.add(place.number)
        return RemoteProcess(self, place, spec)

    def compare(self, running: WorkerRunning) -> None:
        """Raises NotThere for a worker whose model is another than the gateway's."""
        if not running.contents:
            return  # the files could not be opened: the worker explains that
        if self._contents is None:
            self._contents = running.contents, running.node
        contents, first = self._contents
        if running.contents != contents:
            raise NotThere(f"the model's file on {running.node} is another than on {first}")

    async def leave(self, number: int) -> None:
        self._numbers.discard(number)
        self.cluster.leave(number)

    async def close(self) -> None:
        self._files.close()
        for number in self._numbers:
            self.cluster.leave(number)


class ClusterPool(SupervisedPool):
    """Implements :class:`gateway.pool.Pool` with workers on the nodes of a cluster."""

    def __init__(
        self,
        spec: WorkerSpec,
        count: int,
        cluster: Cluster,
        need: Need,
        *,
        silence_s: float,
        step_s: float,
        most: int | None = None,
        demand: Callable[[Listener], Demand] | None = None,
        first: int = 0,
        sources: FileSources = AT_THEIR_PATHS,
    ) -> None:
        """``need``: of each worker. ``most``: the workers that there may be while the ``demand``
        of the pool's listener is high; None: ``count``. ``sources``: by which nodes get the model's
        files. The rest is as for any pool."""
        host = ClusterHost(cluster, need, sources)
        self._cluster = cluster
        self._count = count
        places = max(count, most or count)
        self.numbers = range(first, first + places)
        """Of all workers that may come."""
        super().__init__(spec, places, host, silence_s=silence_s, step_s=step_s, first=first)
        self.begin_with(count)
        self._held = False
        """True: its size is another's decision."""
        self._demand = demand
        self._scaler = Scaler(count, places, SCALE_S)
        self._shrinking: asyncio.Task[None] | None = None

    def _background(self) -> list[Coroutine[None, None, None]]:
        return [*super()._background(), self._tend()]

    @property
    def capacity(self) -> int:
        """The number of workers without any demand."""
        return self._count

    @property
    def cramped(self) -> bool:
        """Return whether no worker has a place on a node, and one waits for some."""
        processes = [each.process for each in self._present()]
        placed = any(each is not None and each.node is not None for each in processes)
        return not placed and any(
            isinstance(each, RemoteProcess) and each.placeless for each in processes
        )

    async def places(self, need: Need) -> int:
        """Return for how many more workers, with this need, nodes have room."""
        return await self._cluster.places(need)

    async def hold(self) -> None:
        self._held = True
        while self.size > 1 and not all(each.ready or each.leaving for each in self._present()):
            await self.shrink()  # one that is not ready, and may wait for a place, goes first

    def resume(self) -> None:
        super().resume()
        self._held = False

    async def adapt(self, adapters: Sequence[AdapterFile]) -> None:
        await super().adapt([_on_nodes(each) for each in adapters])

    def _lacks_adapter(self, link: WorkerLink) -> None:
        """Take a worker out of service: its node has another file, or none."""
        worker = next((each for each in self._workers if each.link is link), None)
        if worker is None:
            return  # it has ended
        log.error("worker %d on node %s is not used", worker.id, self.node(worker.id))
        worker.moving = True
        self._recount(worker)
        self._cluster.leave(worker.id)  # the next start may have another node

    async def _begin(self, worker: Worker) -> HostedProcess:
        """Start a process; one whose node is lost meanwhile is started on another one."""
        worker.moving = False
        for _ in range(LOST_TIMES):
            try:
                return await super()._begin(worker)
            except NodeLost as error:
                log.warning("worker %d: %s; it is started again", worker.id, error)
                await self._pause(LOST_S, worker.ending)
                if worker.ending.is_set():
                    raise
        return await super()._begin(worker)

    async def _tend(self) -> None:
        """Empty nodes that go away, and have as many workers as the demand needs."""
        while not self._stopping.is_set():
            await self._pause(SCALE_S)
            if self.model is None or self._stopping.is_set():
                continue
            self._empty(asyncio.get_running_loop().time())
            shrinking = self._shrinking is not None and not self._shrinking.done()
            if self._demand is not None and not (shrinking or self._held):
                assert self._listener is not None, "it was started"
                self._scale(self._scaler.decide(self._demand(self._listener), self._load()))

    def _empty(self, now: float) -> None:
        """Move workers whose nodes go away: each finishes what it has, if there is time for it."""
        for worker in self._present():
            process, link = worker.process, worker.link
            if not isinstance(process, RemoteProcess) or process.leaves_at is None or link is None:
                continue
            if not worker.moving:
                log.warning("worker %d: its node goes away", worker.id)
                worker.moving = True
                self._recount(worker)
            if not link.in_flight or now >= process.leaves_at - MOVE_S:
                self._cluster.leave(worker.id)  # the next start has another node

    def _load(self) -> PoolLoad:
        workers = [worker for worker in self._present() if not worker.leaving]
        starting = sum(not worker.ready for worker in workers)
        return PoolLoad(len(workers), starting, self._spec.slots, sum(w.busy for w in workers))

    def _scale(self, change: int) -> None:
        if change > 0:
            log.info("requests wait: a worker more is started")
            self.grow()
        elif change < 0:
            log.info("a worker is not needed any more")
            self._shrinking = asyncio.create_task(self.shrink())
            self._tasks.append(self._shrinking)


def _on_nodes(file: AdapterFile) -> AdapterFile:
    """Return an adapter as nodes find it: by its name, and by what it contains."""
    path = os.path.abspath(file.paths[-1])
    return msgspec.structs.replace(file, paths=(path,), written_ns=ANY_TIME)


def _absolute(spec: WorkerSpec) -> WorkerSpec:
    """Return a spec whose files are found from any folder."""
    mmproj = None if spec.mmproj is None else os.path.abspath(spec.mmproj)
    model = os.path.abspath(spec.model_path)
    return msgspec.structs.replace(spec, model_path=model, mmproj=mmproj)
