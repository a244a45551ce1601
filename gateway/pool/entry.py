"""The first steps of a worker process, and what it gets from the gateway's beside its memory.

A process that is spawned imports this module and what it needs, which is little: neither the event
loop nor any other part of the pool.
"""

import importlib
import socket
from collections.abc import Callable, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import msgspec

from gateway.system import collector, log_setup
from workers.protocol import WorkerSpec

DESCRIPTORS = Path("/proc/self/fd")

Main = Callable[[socket.socket, WorkerSpec], None]
"""The function that a worker process runs, on its end of a socketpair. It crosses by name."""


class Inherited:
    """A descriptor that a spawned process gets, too."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __getstate__(self) -> Any:
        return DupFd(self.descriptor)

    def __setstate__(self, inherited: Any) -> None:
        self.descriptor = inherited.detach()


def paths_of(inherited: Sequence[Inherited]) -> tuple[str, ...]:
    """Return the paths by which a worker opens what it inherited."""
    return tuple(str(DESCRIPTORS / str(each.descriptor)) for each in inherited)


def engine(sock: socket.socket, spec: WorkerSpec) -> None:
    """Serve a model. Imported only here, in the child: the gateway never imports the engine."""
    _worker().main(sock, spec)


def spare_engine(sock: socket.socket, spec: WorkerSpec) -> None:
    """Get ready to serve a model, and serve it after :meth:`WorkerProcess.wake`."""
    _worker().wait(sock, spec)


def _worker() -> Any:
    with collector.at_start():
        return importlib.import_module("workers.__main__")


def enter(
    main: Main, sock: socket.socket, spec: WorkerSpec, inherited: Sequence[Inherited]
) -> None:
    """Run ``main`` in the child."""
    spec = msgspec.structs.replace(spec, files=paths_of(inherited))
    log_setup.configure(spec.log_level, spec.log_format, "worker %(process)d")
    main(sock, spec)
