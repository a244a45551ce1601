"""The gateway's membership in a cluster: its driver, which is started, watched and replaced."""

import array
import asyncio
import contextlib
import logging
import socket
import subprocess
from typing import NamedTuple, Protocol

from gateway.pool import PoolFailed
from gateway.pool.cluster.control import (
    Alive,
    CountPlaces,
    FromDriver,
    Joined,
    Kill,
    Leave,
    Need,
    NotJoined,
    OfChannel,
    Open,
    PlacesCounted,
    ToDriver,
    WorkerEnded,
    WorkerRefused,
)
from gateway.system.log_setup import Format
from workers.protocol import FrameDecoder, ProtocolError, children, encode

log = logging.getLogger("forge.cluster")

DRIVER = "gateway.pool.cluster.driver"
JOIN_S = 90.0
"""Seconds until a driver that has not joined is given up; Ray itself gives up after 30 s or so."""
SILENCE_S = 15.0
"""Seconds without a word of the driver after which it is replaced; it has one each second."""
PLACES_S = 10.0
"""Seconds that a driver may take to count free places."""
STOP_S = 10.0
"""Seconds that a driver may take to leave the cluster."""
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 30.0
MAX_FAILURES = 5
"""Drivers that may fail to join in a row before the starts of workers fail."""


class Channel(Protocol):
    """Hears what becomes of one start of a worker."""

    def on_control(self, message: OfChannel) -> None: ...


class Opened(NamedTuple):
    """A channel, and our end of its socket."""

    number: int
    sock: socket.socket


class _Driver(asyncio.Protocol):
    """One driver process, from its start to its end."""

    def __init__(self, cluster: "Cluster", control: socket.socket) -> None:
        self._cluster = cluster
        self._control = control
        self._decoder: FrameDecoder[FromDriver] = FrameDecoder(FromDriver)
        self.silent = 0
        """Ticks since its last word."""
        self.joined = False
        self.reason = "its process ended"
        self.ended = asyncio.Event()

    def send(self, message: ToDriver, *descriptors: int) -> None:
        """Send a message without waiting. Raises OSError if the driver is gone or does not read."""
        frame = encode(message)
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        sent = self._control.sendmsg([frame], passed if descriptors else [], socket.MSG_DONTWAIT)
        if sent < len(frame):
            self.ended.set()
            raise OSError("the cluster's driver does not read")

    def data_received(self, data: bytes) -> None:
        self.silent = 0
        try:
            for message in self._decoder.feed(data):
                self._cluster.hear(self, message)
        except ProtocolError as error:
            self.reason = str(error)
            self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class Cluster:
    """Implements a server's membership; its pools share it."""

    def __init__(
        self, address: str, log_level: str, log_format: Format, driver: str = DRIVER
    ) -> None:
        """``address``: auto, or where the cluster's control service listens.

        ``driver``: the module that the child runs.
        """
        # The server's lifetime.
        self._module = driver
        self._arguments = (address, log_level, log_format)
        self._next_channel = 0
        self._next_question = 0
        self._running: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        """Set and replaced whenever a driver joins or fails."""
        self._failures = 0
        """Drivers that did not join since one did."""
        self._failure = ""
        self.ever_joined = False
        # The driver's.
        self._driver: _Driver | None = None
        self._channels: dict[int, Channel] = {}
        self._questions: dict[int, asyncio.Future[int]] = {}

    async def join(self) -> None:
        """Return when a driver is in the cluster. Raises PoolFailed if the first one can't be."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        while not self.ever_joined:
            if self._failures:
                raise PoolFailed(f"the cluster can't be joined: {self._failure}")
            await self._change()

    async def joined(self) -> None:
        """Wait for a driver that has joined. Raises OSError if several in a row could not."""
        while self._driver is None or not self._driver.joined:
            seen = self._failures
            await self._change()
            if self._failures >= MAX_FAILURES and self._failures > seen:
                raise OSError(f"the cluster can't be joined: {self._failure}")

    async def _change(self) -> None:
        await self._changed.wait()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def open(self, worker: int, need: Need, channel: Channel) -> Opened:
        """Have a worker started. Raises OSError without a driver."""
        if self._driver is None:
            raise OSError("the cluster's driver has ended")
        ours, theirs = socket.socketpair()
        number = self._next_channel = self._next_channel + 1
        try:
            with theirs:
                self._driver.send(Open(number, worker, need), theirs.fileno())
        except OSError:
            ours.close()
            raise
        ours.setblocking(False)
        self._channels[number] = channel
        return Opened(number, ours)

    def kill(self, channel: int) -> None:
        """End a channel's worker, whatever it does."""
        self._send(Kill(channel))

    def leave(self, worker: int) -> None:
        """Give up a worker's place on its node."""
        self._send(Leave(worker))

    async def places(self, need: Need) -> int:
        """Return for how many more workers nodes have room now; 0 if that is not known."""
        question = self._next_question = self._next_question + 1
        counted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._questions[question] = counted
        self._send(CountPlaces(question, need))
        try:
            async with asyncio.timeout(PLACES_S):
                return await counted
        except TimeoutError:
            return 0
        finally:
            del self._questions[question]

    def _send(self, message: ToDriver) -> None:
        if self._driver is not None:
            with contextlib.suppress(OSError):  # it ends, and all with it
                self._driver.send(message)

    def hear(self, driver: _Driver, message: FromDriver) -> None:
        """Take a message of a driver."""
        if isinstance(message, Joined):
            log.info("joined the cluster: %d nodes, Ray %s", message.nodes, message.ray)
            driver.joined = self.ever_joined = True
            self._failures = 0
            self._tell_change()
        elif isinstance(message, NotJoined):
            driver.reason = message.message
        elif isinstance(message, PlacesCounted):
            counted = self._questions.get(message.question)
            if counted is not None and not counted.done():
                counted.set_result(message.places)
        elif not isinstance(message, Alive):
            channel = self._channels.get(message.channel)
            if isinstance(message, WorkerRefused | WorkerEnded):
                self._channels.pop(message.channel, None)
            if channel is not None:
                channel.on_control(message)

    async def stop(self) -> None:
        """Leave the cluster; the actors end."""
        self._stopping.set()
        if self._running is not None:
            await self._running

    # ------------------------------------------------------------------ drivers

    async def _run(self) -> None:
        pause = BACKOFF_FIRST_S
        while not self._stopping.is_set():
            driver = await self._live()
            if self._stopping.is_set():
                return
            if driver.joined:
                pause = BACKOFF_FIRST_S
            else:
                self._failures += 1
                self._failure = driver.reason
            self._tell_change()
            log.error("the cluster's driver: %s; another in %.2f s", driver.reason, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            pause = min(2 * pause, BACKOFF_MAX_S)

    async def _live(self) -> _Driver:
        """One driver from its start to its end."""
        ours, theirs = socket.socketpair()
        driver = _Driver(self, ours)
        try:
            process = self._spawn(theirs)
        except OSError as error:
            ours.close()
            driver.reason = f"it can't be started: {error}"
            return driver
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        # Another descriptor of the same socket: the transport must not be written beside.
        transport, _ = await loop.create_unix_connection(lambda: driver, sock=ours.dup())
        self._driver = driver
        try:
            await self._watch(driver)
        finally:
            self._driver = None
            self._lose()
            transport.close()
            ours.close()
            await self._reap(process)
        return driver

    def _spawn(self, control: socket.socket) -> subprocess.Popen[bytes]:
        driver = children.command(self._module, str(control.fileno()), *self._arguments)
        return subprocess.Popen(
            children.command("workers.parent", *driver),  # it ends with this process
            env={**children.environment(), "RAY_USAGE_STATS_ENABLED": "0"},
            pass_fds=[control.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what Ray prints is no output of the server
        )

    async def _watch(self, driver: _Driver) -> None:
        """Return when the driver has ended, is stuck or is not wanted any more."""
        ends = [asyncio.create_task(each.wait()) for each in (driver.ended, self._stopping)]
        while not (driver.ended.is_set() or self._stopping.is_set()):
            await asyncio.wait(ends, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            driver.silent += 1
            if driver.silent > (SILENCE_S if driver.joined else JOIN_S):
                driver.reason = "it has been silent for too long"
                break
        for end in ends:
            end.cancel()

    def _lose(self) -> None:
        """Tell all channels: the kernel has closed their sockets, or will as it ends."""
        channels, self._channels = self._channels, {}
        for number, channel in channels.items():
            channel.on_control(WorkerEnded(number, None))

    async def _reap(self, process: subprocess.Popen[bytes]) -> None:
        try:
            await asyncio.to_thread(process.wait, STOP_S if self._stopping.is_set() else 0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
