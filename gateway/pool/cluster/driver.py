"""The child of the gateway that is in the cluster: ``python -m gateway.pool.cluster.driver``.

It opens an actor for each worker and carries bytes between the channels and the actors, as
:mod:`gateway.pool.cluster.launching` tells. What the gateway tells comes on a socket, and with it
the channels. It ends when the gateway does, and Ray ends the actors then, since they are its own.
"""

import array
import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections import deque
from typing import Any

import ray
import uvloop
from ray.exceptions import RayError

import gateway
from gateway.pool.cluster.actor import WorkerActor
from gateway.pool.cluster.control import (
    CHUNK_BYTES,
    Alive,
    CountPlaces,
    FromDriver,
    Joined,
    Kill,
    Leave,
    Need,
    NotJoined,
    Open,
    PlacesCounted,
    ToDriver,
    WorkerEnded,
    WorkerLeaving,
    WorkerRefused,
    WorkerWaiting,
)
from gateway.pool.cluster.launching import ChannelPlace, LaunchRefused, carry, frame, launch
from gateway.pool.cluster.places import NodeFacts, places
from gateway.system import log_setup
from workers.protocol import FrameDecoder, encode

log = logging.getLogger("forge.cluster")

ALIVE_S = 1.0
"""Seconds between two signs that the loop turns."""
GONE_LOOKS = 2
"""Looks in a row that do not find this machine's node before it is taken for dead."""
PLACE_S = 5.0
"""Seconds after which a worker without a place is told of."""
SPACE = socket.CMSG_SPACE(64 * array.array("i").itemsize)
"""Room for descriptors in one read: the kernel gives those of one message at a time."""


class Driver:
    """The channels of one gateway, and the actors of its workers."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._decoder: FrameDecoder[ToDriver] = FrameDecoder(ToDriver)
        self._descriptors = deque[int]()
        """Of channels whose messages are not complete."""
        self._actors: dict[int, Any] = {}
        """By the worker's number."""
        self._channels: dict[int, int] = {}
        """The worker of each channel."""
        self._places: dict[int, str] = {}
        """The node of each channel whose worker runs."""
        self._leaving = set[str]()
        """Nodes whose end was told."""
        self._tasks = set[asyncio.Task[None]]()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Serve until the gateway is gone."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control, self._read)
        self._tell(Joined(len(alive_nodes()), ray.__version__))
        self._spawn(self._watch_nodes())
        while not await self._ends_within(ALIVE_S):
            self._tell(Alive())
        loop.remove_reader(self._control)
        self._control.close()  # the gateway need not wait for Ray's end

    async def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()

    async def _watch_nodes(self) -> None:
        """Look for nodes that will go, and for the end of this one.

        Apart from the rest: without the head the look waits. After a restart of the head Ray takes
        this driver for dead if its own node is, gives it no places any more, and does not tell.
        """
        own, gone = ray.get_runtime_context().get_node_id(), 0
        while not await self._ends_within(ALIVE_S):
            try:
                self._tell_leaving(await asyncio.to_thread(leaving_nodes))
                alive = {node["NodeID"] for node in await asyncio.to_thread(alive_nodes)}
            except Exception as error:  # noqa: BLE001 (Ray has a kind for each of its parts)
                log.debug("the cluster does not tell of its nodes: %s", error)
                continue
            gone = 0 if own in alive else gone + 1
            if gone == GONE_LOOKS:
                log.error("Ray's processes of this machine were lost")
                self._ended.set()

    def _tell_leaving(self, nodes: dict[str, float]) -> None:
        """Tell of nodes that will go, once for each channel there."""
        for channel, node in self._places.items():
            if node in nodes and node not in self._leaving:
                self._tell(WorkerLeaving(channel, nodes[node]))
        self._leaving |= {node for node in nodes if node in self._places.values()}

    # ------------------------------------------------------------------ the gateway

    def _tell(self, message: FromDriver) -> None:
        tell(self._control, message)

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._control.recvmsg(CHUNK_BYTES, SPACE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for _, _, found in ancillary:
            self._descriptors.extend(array.array("i", found))
        if not data:
            self._ended.set()
            return
        for message in self._decoder.feed(data):
            self._hear(message)

    def _hear(self, message: ToDriver) -> None:
        if isinstance(message, Open):
            sock = socket.socket(fileno=self._descriptors.popleft())
            self._spawn(self._serve(message, sock))
        elif isinstance(message, Kill):
            self._spawn(self._kill(message.channel))
        elif isinstance(message, CountPlaces):
            self._spawn(self._count(message))
        else:
            self._leave(message)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _count(self, asked: CountPlaces) -> None:
        """Tell how much room there is; what Ray does not tell is none."""
        count = 0
        try:
            count = places(await asyncio.to_thread(node_facts), asked.need)
        except Exception as error:  # noqa: BLE001 (Ray has a kind for each of its parts)
            log.warning("the cluster does not say what its nodes have free: %s", error)
        self._tell(PlacesCounted(asked.question, count))

    def _leave(self, message: Leave) -> None:
        actor = self._actors.pop(message.worker, None)
        if actor is not None:
            ray.kill(actor)

    async def _kill(self, channel: int) -> None:
        """End a worker; if its actor does not answer, with the actor."""
        worker = self._channels.get(channel)
        actor = None if worker is None else self._actors.get(worker)
        if actor is None:
            return
        try:
            async with asyncio.timeout(ALIVE_S):
                await actor.kill.remote(channel)
        except (TimeoutError, RayError):
            self._drop(worker, actor)

    def _drop(self, worker: int | None, actor: Any) -> None:
        """Forget an actor that is dead, or must be taken for dead."""
        if worker is not None and self._actors.get(worker) is actor:
            del self._actors[worker]
        with contextlib.suppress(RayError, ValueError):
            ray.kill(actor)

    # ------------------------------------------------------------------ one channel

    async def _serve(self, opened: Open, near: socket.socket) -> None:
        """One worker from its start to its end."""
        channel, worker = opened.channel, opened.worker
        self._channels[channel] = worker
        near.setblocking(False)
        actor = self._actors.get(worker)
        if actor is None:
            actor = self._actors[worker] = create(opened.need)
        end: WorkerRefused | WorkerEnded = WorkerEnded(channel, None)
        try:
            sources, spec = await frame(near), await frame(near)
            place = await self._place(channel, actor)
            try:
                far, running = await launch(actor, place, (sources, spec), self._tell)
            except LaunchRefused as refused:
                message = f"{refused.told.message} (node {place.node})"
                end = WorkerRefused(channel, message, refused.told.lacks)
            else:
                self._tell(running)
                end = WorkerEnded(channel, await carry(near, far, actor.end.remote(channel)))
        except RayError as error:
            log.info("worker %d: %s", worker, str(error).partition("\n")[0])
            self._drop(worker, actor)
        except ConnectionError:
            pass  # the gateway gave it up before it had begun
        finally:
            self._tell(end)
            del self._channels[channel]
            self._places.pop(channel, None)
            near.close()

    async def _place(self, channel: int, actor: Any) -> ChannelPlace:
        """Return the node of a channel's worker, once Ray has a place for it."""
        placed = asyncio.ensure_future(actor.node.remote())
        found, _ = await asyncio.wait({placed}, timeout=PLACE_S)
        if not found:
            self._tell(WorkerWaiting(channel))
        node = self._places[channel] = (await placed).decode()
        return ChannelPlace(channel, *await asyncio.to_thread(describe, node))


def tell(control: socket.socket, message: FromDriver) -> None:
    """Send a message to the gateway. It waits for a gateway that does not read."""
    with contextlib.suppress(OSError):  # it is gone; that ends the loop
        control.sendall(encode(message))


def create(need: Need) -> Any:
    """Have Ray find a place for an actor. It never tries anything a second time by itself."""
    return (
        ray.remote(WorkerActor)
        .options(
            num_cpus=need.cpus,
            num_gpus=need.gpus,
            resources=need.resources,
            label_selector=need.labels or None,
            scheduling_strategy="SPREAD" if need.placement == "spread" else "DEFAULT",
            max_restarts=0,
            max_task_retries=0,
        )
        .remote(gateway.__version__)
    )


def alive_nodes() -> list[dict[str, Any]]:
    """Return what Ray tells of the nodes that live."""
    return [node for node in ray.nodes() if node["Alive"]]


def node_facts() -> list[NodeFacts]:
    """Return what is known of the nodes that live and stay."""
    free, leaving = ray._private.state.available_resources_per_node(), leaving_nodes()
    return [
        NodeFacts(node["Labels"], free.get(node["NodeID"], {}))
        for node in alive_nodes()
        if node["NodeID"] not in leaving
    ]


def leaving_nodes() -> dict[str, float]:
    """Return how many seconds the nodes have that were told to go; negative: that is not known."""
    told = ray._private.state.state.get_draining_nodes()  # Ray has no public way to ask
    now_ms = time.time() * 1000
    return {node: (at_ms - now_ms) / 1000 if at_ms else -1.0 for node, at_ms in told.items()}


def describe(node_id: str) -> tuple[str, str]:
    """Return a node's name (its machine's, unless it was given one) and address."""
    for node in ray.nodes():
        if node["NodeID"] == node_id:
            name, address = node["NodeName"], node["NodeManagerAddress"]
            return (node["NodeManagerHostname"] if name == address else name), address
    return node_id, ""


def main(descriptor: int, address: str, level: str, form: log_setup.Format) -> None:
    """Join the cluster and serve the gateway on the socket ``descriptor``."""
    log_setup.configure(level, form, "cluster")
    control = socket.socket(fileno=descriptor)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        tell(control, NotJoined(str(error) or type(error).__name__))
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it is the gateway that drains
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Driver(control).run())
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], "json" if sys.argv[4] == "json" else "console")
