"""The local pool: workers are processes of this machine."""

from collections.abc import Awaitable, Callable, Coroutine

from gateway.pool import FileState, disk_prefixes
from gateway.pool.entry import Main, engine
from gateway.pool.held_files import HeldFiles
from gateway.pool.hosting import HostedProcess, WorkerPlace
from gateway.pool.process import WorkerProcess
from gateway.pool.spare import Spare
from gateway.pool.supervisor import SupervisedPool
from gateway.pool.worker import Worker
from workers.protocol import WorkerSpec


class LocalHost:
    """Implement :class:`gateway.pool.hosting.Host` with this machine."""

    def __init__(
        self, main: Main, settle: Callable[[WorkerSpec], Awaitable[WorkerSpec]] | None
    ) -> None:
        """``main``: what each process does; ``settle``: see :class:`LocalPool`."""
        self._main = main
        self._settle = settle
        self._files = HeldFiles()

    @property
    def file_state(self) -> FileState:
        return self._files.state

    @property
    def refusal(self) -> str | None:
        return self._files.refusal

    async def open(self, spec: WorkerSpec) -> WorkerSpec:
        await self._files.open(spec.model_path)
        if self._settle is not None:
            spec = await self._settle(spec)
        return await disk_prefixes.with_folder(spec, self._files.print)

    async def look(self) -> None:
        await self._files.look()

    def process(
        self, place: WorkerPlace, spec: WorkerSpec, main: Main | None = None
    ) -> WorkerProcess:
        """Make a process; ``main`` None: it does what all do."""
        return WorkerProcess(
            f"forge-worker-{place.number}",
            main or self._main,
            spec,
            place.watchdog,
            place.on_message,
            place.on_closed,
            self._files.inherited(),
        )

    async def leave(self, number: int) -> None:
        pass

    async def close(self) -> None:
        self._files.close()


class LocalPool(SupervisedPool):
    """Implements :class:`gateway.pool.Pool` with processes of this machine."""

    def __init__(
        self,
        spec: WorkerSpec,
        count: int,
        *,
        silence_s: float,
        step_s: float,
        main: Main = engine,
        spare: Main | None = None,
        first: int = 0,
        settle: Callable[[WorkerSpec], Awaitable[WorkerSpec]] | None = None,
    ) -> None:
        """``silence_s`` and ``step_s``: see :class:`Watchdog`. ``main``: what each process does.

        ``spare``: what one does that waits for the death of an only worker; None: there is none.
        ``first``: the first worker's number; other pools have other ones. ``settle``: decides what
        the spec leaves open, before the first worker starts.
        """
        host = LocalHost(main, settle)
        super().__init__(spec, count, host, silence_s=silence_s, step_s=step_s, first=first)
        (only, *others) = self._workers
        self._spare = (
            Spare(
                lambda: host.process(self._place(only), self._worker_spec(), spare),
                lambda: only.ready,
            )
            if spare is not None and not others
            else None
        )

    def _background(self) -> list[Coroutine[None, None, None]]:
        kept = [] if self._spare is None else [self._spare.keep(self._stopping)]
        return [*super()._background(), *kept]

    async def _begin(self, worker: Worker) -> HostedProcess:
        """Wake the spare process, or start one."""
        woken = worker.process = await self._spare.take() if self._spare is not None else None
        return woken if woken is not None else await super()._begin(worker)
