"""The messages between the gateway and the driver of its cluster, and those of an actor. Pure.

They tell what becomes of channels: a channel is one start of one worker, and has a socket of its
own for the frames, whose other end comes to the driver with :class:`Open`.
"""

from typing import Literal

import msgspec

CHUNK_BYTES = 64 * 1024
"""Bytes of a specification that a call of an actor carries at most. Ray puts 100 KB and more into
its object store, so a larger one goes in several calls, one after the other."""

Spread = Literal["spread", "pack"]


class Need(msgspec.Struct, frozen=True):
    """The needs of a worker on its node."""

    cpus: float
    gpus: float = 0.0
    resources: dict[str, float] = {}
    """Of other names, as nodes were started with."""
    labels: dict[str, str] = {}
    """Labels of the node, and what they must be."""
    placement: Spread = "spread"


class FileSources(msgspec.Struct, frozen=True):
    """The sources by which a node gets a model's files; None: they are at their paths there."""

    model: str | None = None
    mmproj: str | None = None


AT_THEIR_PATHS = FileSources()


class Open(msgspec.Struct, frozen=True, tag="open"):
    """Start a worker; the descriptor of its channel comes with the message.

    The channel's first frame is a :class:`FileSources`, the second the worker's specification.
    """

    channel: int
    worker: int
    """Its number: the actor of an earlier start is used again."""
    need: Need


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """End the worker of a channel, whatever it does."""

    channel: int


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """Give up a worker's place on its node: it is not wanted any more."""

    worker: int


class CountPlaces(msgspec.Struct, frozen=True, tag="count"):
    """Tell for how many more workers the nodes have room; :class:`PlacesCounted` answers."""

    question: int
    need: Need


ToDriver = Open | Kill | Leave | CountPlaces


class Joined(msgspec.Struct, frozen=True, tag="joined"):
    """The driver is in the cluster."""

    nodes: int
    ray: str


class NotJoined(msgspec.Struct, frozen=True, tag="unusable"):
    """The driver can't join the cluster; it ends."""

    message: str


class WorkerRunning(msgspec.Struct, frozen=True, tag="running"):
    """A channel's worker process runs; its frames follow on the channel."""

    channel: int
    pid: int
    node: str
    address: str
    contents: bytes
    """A digest of the model's files, as far as they are compared; empty if they can't be read."""


class WorkerFetching(msgspec.Struct, frozen=True, tag="fetching"):
    """The node of a channel's worker gets a file of the model; once a second at most."""

    channel: int
    node: str
    address: str
    file: str
    done: int
    """Bytes that are there."""
    total: int | None
    """All of them, if that is known."""


class WorkerRefused(msgspec.Struct, frozen=True, tag="refused"):
    """A channel's worker could not be started."""

    channel: int
    message: str
    lacks: bool = False
    """True: its node has not the model's files, which may be otherwise another time."""


class WorkerWaiting(msgspec.Struct, frozen=True, tag="waiting"):
    """A channel's worker has no place yet: no node has what it needs."""

    channel: int


class WorkerEnded(msgspec.Struct, frozen=True, tag="ended"):
    """A channel's worker is gone; ``code`` None: with its actor or its node."""

    channel: int
    code: int | None


class PlacesCounted(msgspec.Struct, frozen=True, tag="counted"):
    """The answer to a :class:`CountPlaces`."""

    question: int
    places: int


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """The driver's loop turns."""


class WorkerLeaving(msgspec.Struct, frozen=True, tag="leaving"):
    """The node of a channel's worker was told to go."""

    channel: int
    left_s: float
    """Seconds until it does; negative if that was not said."""


FromDriver = (
    Joined
    | NotJoined
    | WorkerRunning
    | WorkerRefused
    | WorkerWaiting
    | WorkerFetching
    | WorkerLeaving
    | WorkerEnded
    | Alive
    | PlacesCounted
)
OfChannel = (
    WorkerRunning | WorkerRefused | WorkerWaiting | WorkerFetching | WorkerLeaving | WorkerEnded
)


class ActorListens(msgspec.Struct, frozen=True, tag="listens"):
    """The answer of an actor that waits for the connection of a channel."""

    port: int
    secret: bytes
    """See :mod:`gateway.pool.cluster.connection`. It is good for one connection."""


class ActorStarted(msgspec.Struct, frozen=True, tag="started"):
    """The answer of an actor that started a worker; ``contents`` as in :class:`WorkerRunning`."""

    pid: int
    contents: bytes


class ActorRefused(msgspec.Struct, frozen=True, tag="not_started"):
    """The answer of an actor that can't start one."""

    message: str
    lacks: bool = False
    """See :class:`WorkerRefused`."""


Listened = ActorListens | ActorRefused
Launched = ActorStarted | ActorRefused


class FileComes(msgspec.Struct, frozen=True, tag="comes"):
    """An actor's node gets a file."""

    file: str
    done: int
    total: int | None


class FilesThere(msgspec.Struct, frozen=True, tag="there"):
    """All files are on the actor's node."""


class AccessWanted(msgspec.Struct, frozen=True, tag="access"):
    """The hub must be asked, and the node has no access to it of its own: it is lent the gateway's.

    So a token travels only to a node that lacks one, and a file of the hub.
    """


FetchNews = FileComes | FilesThere | AccessWanted | ActorRefused
"""The words of an actor that gets files; all but the first kind are its last."""
