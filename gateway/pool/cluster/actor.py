"""The actor of a worker: it starts the worker's process on its node, and carries its bytes.

Before the first worker the node gets the model's files, as :mod:`gateway.pool.cluster.node_files`
tells. Each start has a connection of its own, by :mod:`gateway.pool.cluster.connection`, which is
there before the process is.
A worker that dies is started again in the same actor, which takes a twentieth of the time that a
new actor takes; the actor's own death ends the worker. It holds the model's files open from its
first worker on, as :mod:`gateway.pool.held_files` tells.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator

import msgspec

import gateway
from gateway.pool import disk_prefixes
from gateway.pool.cluster.connection import ConnectionListener, tls_context
from gateway.pool.cluster.control import (
    AccessWanted,
    ActorListens,
    ActorRefused,
    ActorStarted,
    FetchNews,
    FileSources,
    FilesThere,
    Launched,
    Listened,
)
from gateway.pool.cluster.node_files import FilesMissing, NodeFiles
from gateway.pool.cluster.relay import Relay, relay
from gateway.pool.entry import DESCRIPTORS
from gateway.pool.held_files import HeldFiles
from workers.protocol import WorkerSpec, children, encode

STOP_S = 5.0
"""Time that a worker may take to end after its link has ended, before it is killed."""


class Launch:
    """One start of the worker."""

    def __init__(self) -> None:
        self.spec = bytearray()
        self.listener: ConnectionListener | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.relay: Relay | None = None


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
            yield self._refuse(channel, error, lacks=isinstance(error, FilesMissing))
        else:
            yield FilesThere()

    async def listen(self, channel: int, address: str) -> bytes:
        """Wait for a prepared channel's connection, on the node's address; one of Listened."""
        told: Listened
        try:
            found = ConnectionListener(address, tls_context(os.environ, server=True))
        except OSError as error:
            told = self._refuse(channel, f"it can't listen on {address}: {error}")
        else:
            self._launches[channel].listener = found
            told = ActorListens(found.port, found.secret)
        return msgspec.msgpack.encode(told)

    async def forget(self, channel: int) -> None:
        """Take back a prepared channel, to which the driver can't connect."""
        self._refuse(channel, "")

    async def launch(self, channel: int) -> bytes:
        """Start the worker of a channel that is connected; one of Launched."""
        told: Launched
        try:
            told = ActorStarted(await self._start(self._launches[channel]), self._contents)
        except (OSError, msgspec.MsgspecError) as error:
            told = self._refuse(channel, error)
        except _Refusal as refusal:
            told = self._refuse(channel, refusal, lacks=refusal.lacks)
        return msgspec.msgpack.encode(told)

    def _refuse(
        self, channel: int, reason: Exception | str, *, lacks: bool = False
    ) -> ActorRefused:
        """Forget a channel, and its connection."""
        launch = self._launches.pop(channel, None)
        if launch is not None and launch.listener is not None:
            launch.listener.close()
        return ActorRefused(str(reason), lacks)

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
        assert launch.listener is not None, "the driver connects first"
        connection = await launch.listener.connection()
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = theirs.fileno(), *files
            command = children.command("gateway.pool.cluster.enter", str(theirs.fileno()))
            # In the loop's thread: on Linux a worker dies with the thread that started it.
            launch.process = subprocess.Popen(  # noqa: ASYNC220 (it takes milliseconds)
                command,
                env={**children.environment(), **children.worker_variables()},
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
            )
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(ours, encode(spec))
        launch.relay = await relay(ours, connection)
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

    async def kill(self, channel: int) -> None:
        """End the worker, whatever it does, or the download for it."""
        launch = self._launches.get(channel)
        if launch is None:
            return
        if launch.process is not None:
            launch.process.kill()
        elif self._node_files is not None:
            self._node_files.stop()

    async def end(self, channel: int) -> int:
        """Wait for the worker's end, with force if its link has ended and it stays; its exit code.

        The driver waits for this all the while: so Ray tells it if the actor or the node dies.
        """
        launch = self._launches[channel]
        process = launch.process
        assert process is not None
        assert launch.relay is not None, "it runs"
        await launch.relay.ended()
        try:
            return await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)
        finally:
            del self._launches[channel]


class _Refusal(Exception):
    """A worker can't be started here."""

    def __init__(self, message: str, *, lacks: bool = False) -> None:
        """``lacks``: the model's files are not here."""
        super().__init__(message)
        self.lacks = lacks
