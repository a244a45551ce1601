"""A pool that is loaded and unloaded. Unloaded it has no slots, so requests wait."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from gateway.core.errors import Unavailable
from gateway.pool import Listener, PlacedPool, Pool, ResizablePool, WorkerStatus
from gateway.pool.cluster.control import Need
from gateway.pool.placement import REASONS
from workers.protocol import AdapterFile, Generate, ModelInfo, Question


class SwappablePool:
    """Implement :class:`gateway.pool.Pool` with another pool while the model is loaded.

    ``free`` is 0 without it, so a dispatcher submits nothing then.
    """

    def __init__(self, make: Callable[[], Pool], numbers: Sequence[int]) -> None:
        """``make``: a new pool, for each time that it is loaded; ``numbers``: of its workers."""
        # The server's lifetime.
        self.numbers = numbers
        self._make = make
        self._listener: Listener | None = None
        self._first_workers: int | None = None
        """Workers that the next load begins with; None: all."""
        self._draining = False
        self._adapters: Sequence[AdapterFile] = ()
        self._placements = Counter[str](dict.fromkeys(REASONS, 0))
        """Of pools that are gone."""
        self.restarts = 0
        """Of their workers."""
        self.model: ModelInfo | None = None
        """Facts of the last load."""
        self.failure: str | None = None
        """Reason of the last load's failure, until the next try."""
        # From one load to the next unload.
        self._pool: Pool | None = None

    def listen(self, listener: Listener) -> None:
        """Keep the listener for :meth:`load`, which starts the workers."""
        self._listener = listener

    async def start(self, listener: Listener) -> None:
        """Start nothing: see :meth:`load`."""
        self.listen(listener)

    async def load(self) -> None:
        """Return when a worker is ready. Raises PoolFailed, and leaves nothing behind then."""
        assert self._listener is not None, "listen() comes first"
        assert self._pool is None, "it is there"
        pool = self._pool = self._make()
        if self._draining:
            pool.drain()
        if self._first_workers is not None and isinstance(pool, ResizablePool):
            pool.begin_with(self._first_workers)
        self._first_workers = None
        await pool.adapt(self._adapters)
        try:
            await pool.start(self._listener)
        except BaseException:  # a cancelled load, too, must leave no process behind
            self.detach()
            await pool.stop()
            raise
        self.model = pool.model

    def detach(self) -> Pool | None:
        """Give up all slots, and return the pool, which the caller stops."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self.restarts += sum(status.restarts for status in pool.workers())
            self._placements.update(pool.placements())
        return pool

    def remake(self, make: Callable[[], Pool]) -> None:
        """Make the pool of the next load another way; the one that is there stays."""
        self._make = make

    @property
    def loaded(self) -> bool:
        """Return whether there are, or may be, processes."""
        return self._pool is not None

    @property
    def starts_on_nodes(self) -> bool:
        """Return whether its first worker is still to come, on a node of a cluster."""
        return isinstance(self._pool, PlacedPool) and not self._pool.ready()

    @property
    def cramped(self) -> bool:
        """Return whether it waits for a place on a node."""
        return isinstance(self._pool, PlacedPool) and self._pool.cramped

    async def places(self, need: Need) -> int:
        """Return for how many more workers, with this need, nodes have room."""
        return await self._pool.places(need) if isinstance(self._pool, PlacedPool) else 0

    @property
    def busy(self) -> bool:
        """Return whether a worker still holds a slot for anything, or is asked something."""
        return any(status.busy or status.questions for status in self.workers())

    # ------------------------------------------------------------------ gateway.pool.ResizablePool

    @property
    def resizable(self) -> bool:
        """Return whether the workers that are there may be ended one by one."""
        return isinstance(self._pool, ResizablePool)

    @property
    def size(self) -> int:
        return self._pool.size if isinstance(self._pool, ResizablePool) else 0

    @property
    def capacity(self) -> int:
        return self._pool.capacity if isinstance(self._pool, ResizablePool) else 0

    def begin_with(self, count: int) -> None:
        self._first_workers = count

    async def hold(self) -> None:
        if isinstance(self._pool, ResizablePool):
            await self._pool.hold()

    def resume(self) -> None:
        if isinstance(self._pool, ResizablePool):
            self._pool.resume()

    async def shrink(self) -> None:
        assert isinstance(self._pool, ResizablePool), "it has a size"
        await self._pool.shrink()

    def grow(self) -> None:
        if isinstance(self._pool, ResizablePool):
            self._pool.grow()

    # ------------------------------------------------------------------ gateway.pool.Pool

    @property
    def trouble(self) -> str | None:
        return self.failure if self._pool is None else self._pool.trouble

    def ready(self) -> bool:
        return self._pool is not None and self._pool.ready()

    def free(self) -> int:
        return 0 if self._pool is None else self._pool.free()

    def submit(self, request: Generate, session: str = "") -> int:
        return self._there().submit(request, session)

    def node(self, worker: int) -> str | None:
        return None if self._pool is None else self._pool.node(worker)

    def reserve(self) -> bool:
        return self._pool is not None and self._pool.reserve()

    def submit_alone(self, request: Generate) -> int:
        return self._there().submit_alone(request)

    def release(self) -> bool:
        return self._pool is not None and self._pool.release()

    def cancel(self, id_: int) -> None:
        if self._pool is not None:
            self._pool.cancel(id_)

    def park(self, id_: int) -> None:
        if self._pool is not None:
            self._pool.park(id_)

    async def adapt(self, adapters: Sequence[AdapterFile]) -> None:
        if self._pool is not None:
            await self._pool.adapt(adapters)
        self._adapters = tuple(adapters)

    async def ask(self, question: Question) -> bytes:
        if self._pool is None:
            raise Unavailable("the model is not loaded", retry_after=1)
        return await self._pool.ask(question)

    def drain(self) -> None:
        self._draining = True
        if self._pool is not None:
            self._pool.drain()

    def workers(self) -> list[WorkerStatus]:
        return [] if self._pool is None else self._pool.workers()

    def placements(self) -> Mapping[str, int]:
        total = self._placements.copy()
        total.update({} if self._pool is None else self._pool.placements())
        return total

    def leaks(self) -> list[str]:
        return [] if self._pool is None else self._pool.leaks()

    async def stop(self) -> None:
        pool = self.detach()
        if pool is not None:
            await pool.stop()

    def _there(self) -> Pool:
        assert self._pool is not None, "a pool without workers has no free slot"
        return self._pool
