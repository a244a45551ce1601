"""One place in a pool, with its process."""

import asyncio

from gateway.pool import FileState, WorkerState, WorkerStatus
from gateway.pool.hosting import HostedProcess
from gateway.pool.link import WorkerLink
from workers.protocol import Load


class Worker:
    """One place in the pool: a process at a time, and a new one when it dies."""

    def __init__(self, id_: int) -> None:
        # Pool lifetime.
        self.id = id_
        self.restarts = 0
        self.lacking = 0
        """Starts in a row that found a machine without the model's files."""
        self.counted = 0
        """Its credits, as they are in the pool's sum."""
        self.moving = False
        """True if its machine goes away: it gets no new work, and will start on another."""
        # From its start, or from :meth:`SupervisedPool.grow`, to its end.
        self.task: asyncio.Task[None] | None = None
        """Keeps a process running."""
        self.absent = False
        """True: the place is empty, until the pool grows."""
        self.leaving = False
        """True: it gets no new work, and its place will be empty."""
        self.ending = asyncio.Event()
        """Set when no further process is to be started."""
        # Process lifetime.
        self.process: HostedProcess | None = None

    @property
    def link(self) -> WorkerLink | None:
        """None from the moment when nothing more can come."""
        return self.process.link if self.process is not None and self.process.linked else None

    @property
    def credits(self) -> int:
        given_up = self.leaving or self.moving
        return self.link.credits if self.link is not None and not given_up else 0

    @property
    def busy(self) -> int:
        """Generations that hold its slots."""
        return len(self.link.in_flight) if self.link else 0

    @property
    def ready(self) -> bool:
        return self.link is not None and self.link.ready is not None

    @property
    def occupied(self) -> bool:
        """Return whether it computes or answers something."""
        return self.link is not None and bool(self.link.in_flight or self.link.questions)

    def status(self, slots: int, model_file: FileState, *, draining: bool) -> WorkerStatus:
        """Return what is told of it. ``draining``: the pool takes nothing new."""
        link, process = self.link, self.process
        node = process.node if process is not None else None
        return WorkerStatus(
            id=self.id,
            pid=process.pid if process else None,
            state=self._state(draining),
            slots=slots,
            busy=self.busy,
            restarts=self.restarts,
            load=link.load if link else Load(),
            questions=link.questions if link else 0,
            held=tuple(link.in_flight) if link else (),
            model_file=model_file,
            node=node.name if node is not None else None,
            address=node.address if node is not None else None,
            download=process.download if process is not None else None,
        )

    def _state(self, draining: bool) -> WorkerState:
        link, process = self.link, self.process
        if process is not None and process.waiting:
            return "starting"
        if link is None or process is None:
            return "dead"
        if link.ready is None:
            return "starting"
        return "draining" if draining or self.leaving or self.moving else "ready"
