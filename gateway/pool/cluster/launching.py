"""One start of a worker, as the driver sees it: its actor's answers in turn, and then its bytes.

The files come to the actor's node, the actor listens, the driver connects, the actor starts the
worker. From then on bytes go over that connection, and Ray carries one call that tells the end.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from gateway.pool.cluster.connection import connect, tls_context
from gateway.pool.cluster.control import (
    CHUNK_BYTES,
    AccessWanted,
    ActorListens,
    ActorRefused,
    FetchNews,
    FileComes,
    FilesThere,
    Launched,
    Listened,
    WorkerFetching,
    WorkerRunning,
)
from gateway.pool.cluster.relay import relay

FLUSH_S = 5.0
"""Seconds that the last bytes of a worker that ended may take to the gateway."""

T = TypeVar("T")


class ChannelPlace(NamedTuple):
    """The node of a channel's worker."""

    channel: int
    node: str
    address: str


class LaunchRefused(Exception):
    """An actor can't start a worker."""

    def __init__(self, told: ActorRefused) -> None:
        super().__init__(told.message)
        self.told = told


async def launch(
    actor: Any,
    place: ChannelPlace,
    frames: tuple[bytes, bytes],
    tell: Callable[[WorkerFetching], None],
) -> tuple[asyncio.Transport, WorkerRunning]:
    """Have an actor start a worker, and return the connection with it.

    ``frames``: the channel's first two. ``tell`` hears how far the files are. Raises LaunchRefused,
    and RayError.
    """
    sources, spec = frames
    for start in range(0, len(spec), CHUNK_BYTES):
        await actor.prepare.remote(place.channel, spec[start : start + CHUNK_BYTES])
    await _fetch(actor, place, sources, tell)
    listened: Listened = msgspec.msgpack.decode(
        await actor.listen.remote(place.channel, place.address), type=Listened
    )
    listens = granted(listened)
    try:
        far = await _connect(place.address, listens)
    except OSError as error:
        await actor.forget.remote(place.channel)
        raise LaunchRefused(ActorRefused(str(error))) from error
    try:
        launched: Launched = msgspec.msgpack.decode(
            await actor.launch.remote(place.channel), type=Launched
        )
        started = granted(launched)
    except BaseException:
        far.abort()
        raise
    return far, WorkerRunning(place.channel, started.pid, *place[1:], started.contents)


async def _connect(address: str, listens: ActorListens) -> asyncio.Transport:
    tls = tls_context(os.environ, server=False)
    return await connect(address, listens.port, listens.secret, tls)


async def _fetch(
    actor: Any,
    place: ChannelPlace,
    sources: bytes,
    tell: Callable[[WorkerFetching], None],
    access: bytes = b"",
) -> None:
    """Have the actor get the model's files. ``access``: to the hub, once it was asked for."""
    told: FetchNews = FilesThere()
    async for reference in actor.fetch.remote(place.channel, sources, access):
        told = msgspec.msgpack.decode(await reference, type=FetchNews)
        if isinstance(told, FileComes):
            tell(WorkerFetching(*place, told.file, told.done, told.total))
    if isinstance(granted(told), AccessWanted):
        lent = await asyncio.to_thread(hub_access)
        await _fetch(actor, place, sources, tell, msgspec.msgpack.encode(lent))


def hub_access() -> dict[str, str]:
    """Return the gateway's access to the hub, for a node that has none of its own."""
    from huggingface_hub import constants, get_token  # late: it takes a while to import

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    found = {} if token is None else {"HF_TOKEN": token}
    if "HF_ENDPOINT" in os.environ:
        # A token of the node's user is not for an endpoint that it does not know.
        found = {"HF_TOKEN_PATH": os.devnull, **found, "HF_ENDPOINT": os.environ["HF_ENDPOINT"]}
    return found


def granted(told: T | ActorRefused) -> T:
    """Return an actor's answer. Raises LaunchRefused."""
    if isinstance(told, ActorRefused):
        raise LaunchRefused(told)
    return told


async def carry(near: socket.socket, far: asyncio.Transport, end: Awaitable[int]) -> int:
    """Carry a worker's bytes until its actor tells its end; its exit code. Raises RayError."""
    link = await relay(near, far)
    try:
        code = await end
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await link.closed()
        return code
    finally:
        link.abort()


async def frame(near: socket.socket) -> bytes:
    """Return the next frame of the gateway. Raises ConnectionError if it hung up."""
    return await _exactly(near, int.from_bytes(await _exactly(near, 4), "big"))


async def _exactly(near: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(near, size - len(data))
        if not part:
            raise ConnectionError("it hung up")
        data += part
    return bytes(data)
