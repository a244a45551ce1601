"""A single model: loaded at the start and never unloaded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from gateway.core.errors import ModelStays, Unavailable
from gateway.dispatch.dispatcher import Dispatcher
from gateway.pool import Pool
from gateway.served.load_policy import State
from gateway.served.protocols import LoadObserver
from gateway.served.worker_notes import tell


class AlwaysLoaded:
    """Implement :class:`gateway.served.protocols.Loader` for a server of one model."""

    on_demand = False

    def __init__(
        self, name: str, pool: Pool, clock_ns: Callable[[], int], observer: LoadObserver
    ) -> None:
        self._name = name
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

    async def stop(self) -> None:
        await self._pool.stop()
