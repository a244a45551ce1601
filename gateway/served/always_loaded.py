"""A single model: loaded at the start and never unloaded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from gateway.config.config import MIB, Config, NotNow
from gateway.core.errors import ModelStays, Unavailable
from gateway.dispatch.dispatcher import Dispatcher
from gateway.model_files import memory_check
from gateway.model_files.memory_estimate import GATEWAY
from gateway.pool import Pool
from gateway.served import cluster_pools, memory_budget
from gateway.served.load_policy import State
from gateway.served.protocols import LoadObserver, Room
from gateway.served.resident import LoadNeed
from gateway.served.revision import Revision, can_shrink, no_room
from gateway.served.worker_notes import tell
from gateway.system import host


class AlwaysLoaded:
    """Implement :class:`gateway.served.protocols.Loader` for a server of one model."""

    on_demand = False

    def __init__(
        self,
        name: str,
        pool: Pool,
        clock_ns: Callable[[], int],
        observer: LoadObserver,
        config: Config,
    ) -> None:
        self._name = name
        self._config = config
        self._need = 0
        """Bytes that the workers take; 0 while that is not known."""
        self._taken = 0
        """Bytes of other workers: those that come, and those that go."""
        self._pool = pool
        self._clock_ns = clock_ns
        self._observer = observer
        self._dispatcher: Dispatcher | None = None

    def begin(self, dispatchers: Mapping[str, Dispatcher]) -> None:
        self._dispatcher = dispatchers[self._name]

    def poke(self) -> None:
        pass  # no change can lead to a load or an unload

    def state(self, name: str) -> State:
        return "loading" if self._pool.model is None else "loaded"

    async def start(self, preload: Sequence[str]) -> None:
        """Return when a worker is ready. Raises PoolFailed: without its model a server ends."""
        assert self._dispatcher is not None, "begin() comes first"
        began_ns = self._clock_ns()
        await self._pool.start(self._dispatcher)
        self._observer.loaded(self._name, self._clock_ns() - began_ns)
        tell(self._name, self._pool.model)

    async def run(self) -> None:
        await asyncio.Event().wait()  # there is nothing to decide, until the task is cancelled

    def used(self, name: str, client: str, keep_alive_s: float | None) -> None:
        pass  # it stays

    @contextlib.asynccontextmanager
    async def needed(self, name: str, client: str = "") -> AsyncIterator[None]:
        yield

    def expires_s(self, name: str) -> float | None:
        return None

    def need(self, name: str) -> int | None:
        return None

    async def load(self, name: str, client: str = "", *, again: bool = False) -> None:
        """Raises Unavailable while no worker is ready."""
        if not self._pool.ready():
            raise Unavailable("no worker is ready yet", retry_after=1)

    async def unload(self, name: str, client: str | None = None) -> None:
        """Raises ModelStays."""
        raise ModelStays("the only model of a server stays loaded")

    # ------------------------------------------------------------------ other workers

    async def make_room(self, name: str, config: Config, need: LoadNeed) -> Room | None:
        if config.cluster is not None:
            return Room(await cluster_pools.beside(config, self._pool), 0)
        free = await asyncio.to_thread(self._free)
        unknown = free is None or config.force or memory_check.on_gpu(config)
        if unknown or need.bytes <= (free or 0):
            room = Room(True, need.bytes)
        else:
            freed = self._need if can_shrink(self._pool) else 0
            if need.bytes > (free or 0) + freed:
                raise NotNow(no_room(need.bytes, (free or 0) + freed))
            room = Room(False, 0)
        self._taken += room.size
        return room

    def _free(self) -> int | None:
        """Return the bytes that other workers may take; None: it is not known."""
        if self._need == 0:
            self._need = memory_budget.need_of(self._config)
        if self._config.memory_budget == "auto":
            return host.memory_available()
        budget = self._config.memory_budget * MIB - GATEWAY
        return max(0, budget - self._need - self._taken)

    def replaced(self, name: str, revision: Revision, need: LoadNeed, room: Room) -> None:
        old = self._need
        self._name, self._config = revision.entry.name, revision.entry.config
        self._pool, self._dispatcher, self._need = revision.pool, revision.dispatcher, need.bytes
        if room.beside:
            self._taken += old - room.size
            room.size = old

    def unpin(self, name: str) -> None:
        pass  # nothing unloads it

    def give_back(self, name: str, room: Room) -> None:
        self._taken -= room.size

    async def stop(self) -> None:
        await self._pool.stop()
