"""The seam between a pool and the machines that its processes run on.

The supervisor speaks to a worker by frames on a socket of this machine, wherever the worker is:
:mod:`gateway.pool.local` starts processes here, :mod:`gateway.pool.cluster` on the nodes of a
cluster, whose bytes come and go through a child of the gateway.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from gateway.pool import Download, FileState
from gateway.pool.link import WorkerLink
from gateway.pool.watchdog import Watchdog
from workers.protocol import Report, WorkerSpec


class WorkerPlace(NamedTuple):
    """The place in the pool that a process is for, with what hears of it."""

    number: int
    """The worker's."""
    watchdog: Watchdog
    on_message: Callable[[WorkerLink, Report], None]
    on_closed: Callable[[WorkerLink], None]
    """Called after everything that the worker wrote has been handed over."""


class NotThere(OSError):
    """A machine has not the model's files, or others; there may be one that has, or it later."""


class Node(NamedTuple):
    """A machine that workers run on."""

    name: str
    address: str


class HostedProcess(Protocol):
    """One worker process, from its start to its end."""

    link: WorkerLink
    killed: bool
    """True if :meth:`kill` was called."""

    @property
    def linked(self) -> bool:
        """Return whether it may still say something."""
        ...

    @property
    def pid(self) -> int | None:
        """Return its number on its machine, once it has one."""
        ...

    @property
    def node(self) -> Node | None:
        """Return the machine that it runs on; None: this one, or not known yet."""
        ...

    @property
    def download(self) -> Download | None:
        """Return the file of the model that its machine gets for it now."""
        ...

    @property
    def waiting(self) -> bool:
        """Return whether it waits for a machine that has room for it."""
        ...

    async def start(self) -> None:
        """Return when it runs, long before it is ready.

        Raises OSError if it can't be started, which is :class:`NotThere` for want of files.
        """
        ...

    def kill(self) -> None:
        """End it, whatever it does, even while :meth:`start` waits. Its last frames are read."""
        ...

    async def end(self) -> int | None:
        """Wait until the process has ended; its exit code, None if that is not known."""
        ...


class Host(Protocol):
    """Machines that run the processes of one pool."""

    @property
    def file_state(self) -> FileState:
        """Return the state of the model's files, beside what their names lead to now."""
        ...

    @property
    def refusal(self) -> str | None:
        """Return why no worker may be started, if so."""
        ...

    async def open(self, spec: WorkerSpec) -> WorkerSpec:
        """Get ready to start workers, and return the spec of each."""
        ...

    async def look(self) -> None:
        """Look at the model's files again."""
        ...

    def process(self, place: WorkerPlace, spec: WorkerSpec) -> HostedProcess:
        """Make a process for a place, and don't start it yet."""
        ...

    async def leave(self, number: int) -> None:
        """Give up the place of a worker that is not wanted any more; its process has ended."""
        ...

    async def close(self) -> None:
        """Let go of everything; all processes have ended."""
        ...
