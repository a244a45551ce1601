"""The actor of a worker: it starts the worker's process on its node, and carries its bytes.

Before the first worker the node gets the model's files, as :mod:`gateway.pool.cluster.node_files`
tells.
A worker that dies is started again in the same actor, which takes a twentieth of the time that a
new actor takes; the actor's own death ends the worker. It holds the model's files open from its
first worker on, as :mod:`gateway.pool.held_files` tells.
"""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec

import gateway
from gateway.pool import disk_prefixes
from gateway.pool.cluster.control import (
    CHUNK_BYTES,
    AccessWanted,
    ActorRefused,
    ActorStarted,
    FetchNews,
    FileSources,
    FilesThere,
    Launched,
)
from gateway.pool.cluster.node_files import FilesMissing, NodeFiles
from gateway.pool.entry import DESCRIPTORS
from gateway.pool.held_files import HeldFiles
from workers.protocol import WorkerSpec, children, encode

STOP_S = 5.0
"""Time that a worker may take to end after its link was closed, before it is killed."""


class Launch:
    """One start of the worker."""

    def __init__(self) -> None:
        self.spec = bytearray()
        self.sock: socket.socket | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def hang_up(self) -> None:
        """Close the link; the worker ends when it sees that."""
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()


class WorkerActor:
    """The methods that the driver calls. Arguments and answers are numbers and bytes."""

    def __init__(self, version: str) -> None:
        """``version``: the gateway's, of Forge; the node must have the same."""
        self._version = version
        self._node_files: NodeFiles | None = None
        self._files: HeldFiles | None = None
        self._contents = b""
        self._launches: dict[int, Launch] = {}

    async def node(self) -> bytes:
        """Return the id that Ray has for the node."""
        import ray  # only here: in an actor it is there

        node: str = ray.get_runtime_context().get_node_id()
        return node.encode()

    async def prepare(self, channel: int, part: bytes) -> None:
        """Take a part of the specification for a channel."""
        self._launches.setdefault(channel, Launch()).spec.extend(part)

    async def fetch(self, channel: int, sources: bytes, access: bytes) -> AsyncIterator[bytes]:
        """Get the model's files for a prepared channel, and yield FetchNews.

        ``sources``: as FileSources. ``access``: the gateway's to the hub, as a dict; empty: it was
        not lent.
        """
        async for news in self._fetch(channel, sources, access):
            yield msgspec.msgpack.encode(news)

    async def _fetch(self, channel: int, sources: bytes, access: bytes) -> AsyncIterator[FetchNews]:
        try:
            self._check_version()
            if self._node_files is None:
                wanted = msgspec.msgpack.decode(sources, type=FileSources)
                self._node_files = NodeFiles(wanted)
            files = self._node_files
            if not access and files.needs_access:
                await files.look()
                if files.needs_access:
                    yield AccessWanted()
                    return
            lent = msgspec.msgpack.decode(access, type=dict[str, str]) if access else {}
            async for each in files.bring(lent):
                yield each
        except (FilesMissing, msgspec.MsgspecError, _Refusal) as error:
            self._launches.pop(channel, None)
            yield ActorRefused(str(error), lacks=isinstance(error, FilesMissing))
        else:
            yield FilesThere()

    async def launch(self, channel: int) -> bytes:
        """Start the worker of a prepared channel; one of Launched."""
        told: Launched
        try:
            pid = await self._start(self._launches[channel])
        except (OSError, msgspec.MsgspecError) as error:
            told = ActorRefused(str(error))
        except _Refusal as refusal:
            told = ActorRefused(str(refusal), refusal.lacks)
        else:
            told = ActorStarted(pid, self._contents)
        if isinstance(told, ActorRefused):
            self._launches.pop(channel, None)
        return msgspec.msgpack.encode(told)

    def _check_version(self) -> None:
        """Raises _Refusal if another version of Forge is here than the gateway's."""
        if self._version != gateway.__version__:
            here = gateway.__version__
            raise _Refusal(f"Forge {here} is installed there, and the gateway is {self._version}")

    async def _start(self, launch: Launch) -> int:
        self._check_version()
        spec = msgspec.msgpack.decode(bytes(launch.spec), type=WorkerSpec)
        if self._node_files is not None:
            spec = self._node_files.placed(spec)
        spec, files = await self._with_files(spec)
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = theirs.fileno(), *files
            command = children.command("gateway.pool.cluster.enter", str(theirs.fileno()))
            # In the loop's thread: on Linux a worker dies with the thread that started it.
            launch.process = subprocess.Popen(  # noqa: ASYNC220 (it takes milliseconds)
                command, env=children.environment(), pass_fds=descriptors, stdin=subprocess.DEVNULL
            )
        ours.setblocking(False)
        launch.sock = ours
        await asyncio.get_running_loop().sock_sendall(ours, encode(spec))
        return launch.process.pid

    async def _with_files(self, spec: WorkerSpec) -> tuple[WorkerSpec, list[int]]:
        """Open the model's files, at the first start, and return their descriptors, too."""
        if self._files is None:
            files = HeldFiles()
            await files.open(spec.model_path)
            if files.problem is not None:
                raise _Refusal(f"the model's file can't be read: {files.problem}", lacks=True)
            self._files, self._contents = files, files.contents
        await self._files.look()
        if self._files.refusal is not None:
            raise _Refusal(self._files.refusal)
        held = [each.descriptor for each in self._files.inherited()]
        paths = tuple(str(DESCRIPTORS / str(descriptor)) for descriptor in held)
        spec = msgspec.structs.replace(spec, files=paths)
        return await disk_prefixes.with_folder(spec, self._files.print), held

    async def frames(self, channel: int) -> AsyncIterator[bytes]:
        """Yield what the worker writes, as it comes: a step's frame or a few, up to CHUNK_BYTES."""
        sock = self._launches[channel].sock
        assert sock is not None, "it runs"
        loop = asyncio.get_running_loop()
        with sock, suppress(ConnectionResetError):
            while data := await loop.sock_recv(sock, CHUNK_BYTES):
                yield data

    async def write(self, channel: int, data: bytes) -> None:
        """Hand bytes to the worker; the next call comes after this one has returned."""
        launch = self._launches.get(channel)
        if launch is not None and launch.sock is not None:
            with suppress(OSError):  # it ended; that is told by its frames
                await asyncio.get_running_loop().sock_sendall(launch.sock, data)

    async def hang_up(self, channel: int) -> None:
        """Tell the worker that its gateway is gone."""
        if channel in self._launches:
            self._launches[channel].hang_up()

    async def kill(self, channel: int) -> None:
        """End the worker, whatever it does, or the download for it."""
        launch = self._launches.get(channel)
        if launch is None:
            return
        launch.kill()
        if launch.process is None and self._node_files is not None:
            self._node_files.stop()

    async def end(self, channel: int) -> int:
        """Wait for the worker's end, with force if it hung up and stays; its exit code."""
        launch = self._launches.pop(channel)
        launch.hang_up()
        process = launch.process
        assert process is not None, "it ran"
        try:
            return await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)


class _Refusal(Exception):
    """A worker can't be started here."""

    def __init__(self, message: str, *, lacks: bool = False) -> None:
        """``lacks``: the model's files are not here."""
        super().__init__(message)
        self.lacks = lacks
