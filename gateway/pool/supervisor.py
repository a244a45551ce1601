"""A pool of worker processes that are started, watched and replaced, wherever they run."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence

import msgspec

from gateway.pool import (
    Listener,
    PoolFailed,
    WorkerStatus,
    questions,
)
from gateway.pool.adapters import PoolAdapters
from gateway.pool.hosting import Host, HostedProcess, NotThere, WorkerPlace
from gateway.pool.link import WorkerLink
from gateway.pool.placement import REASONS, choose, neighbour
from gateway.pool.prefixes import UNKNOWN, Chain, Chains
from gateway.pool.sessions import Sessions
from gateway.pool.watchdog import Watchdog
from gateway.pool.worker import Worker
from workers.protocol import (
    AdapterFile,
    Generate,
    ModelInfo,
    Question,
    Ready,
    Report,
    StartupFailed,
    Step,
    Violated,
    WorkerSpec,
)

log = logging.getLogger("forge.pool")

BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 30.0
MAX_FAILURES = 5
"""Starts that may fail in a row before waiting requests are told."""
MAX_LACKING = 3
"""Starts in a row, of each worker, that may find a machine without the model's files, before the
start of the pool fails."""
LACKING_S = 1.0
"""Pause after the first of them."""
MAX_TICK_S = 1.0
"""Between two looks at the workers' watchdogs."""
LOOK_S = 0.05
"""Between two looks at a worker that is to end when it has no work."""
FILES_S = 2.0
"""Between two looks at the model's files."""


class SupervisedPool:
    """Implements :class:`gateway.pool.Pool` with processes of a host."""

    def __init__(
        self,
        spec: WorkerSpec,
        count: int,
        host: Host,
        *,
        silence_s: float,
        step_s: float,
        first: int = 0,
    ) -> None:
        """``silence_s`` and ``step_s``: see :class:`Watchdog`.

        ``first``: the first worker's number; other pools have other ones.
        """
        self._first = first
        self._spec = spec
        self._host = host
        self._silence_s, self._step_s = silence_s, step_s
        self._tick_s = min(MAX_TICK_S, silence_s / 5)
        self._workers = [Worker(id_) for id_ in range(first, first + count)]
        self._tasks: list[asyncio.Task[None]] = []
        self._listener: Listener | None = None
        self._first_ready: asyncio.Future[None] | None = None
        self._draining = False
        self._stopping = asyncio.Event()
        self._credits = 0
        """The sum of all workers'."""
        self._reserved: Worker | None = None
        """The worker that takes no new work but one generation that must run alone."""
        self._adapters = PoolAdapters(spec.adapters, self._ready_links, self._lacks_adapter)
        self._chains = Chains()
        self._sessions = Sessions()
        self._placements = Counter[str](dict.fromkeys(REASONS, 0))
        self._failures = 0
        """Starts that failed since a worker was ready."""
        self.model: ModelInfo | None = None
        self.trouble: str | None = None

    async def start(self, listener: Listener) -> None:
        """Returns when the first worker is ready. Raises :class:`PoolFailed`."""
        self._listener = listener
        self._first_ready = asyncio.get_running_loop().create_future()
        self._spec = await self._host.open(self._spec)
        for worker in self._present():
            self._begin_place(worker)
        self._tasks += [asyncio.create_task(each) for each in self._background()]
        await self._first_ready

    def _background(self) -> list[Coroutine[None, None, None]]:
        """Return what goes on beside the workers, until the pool stops."""
        return [self._watch(), self._watch_files()]

    def _present(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.absent]

    def _begin_place(self, worker: Worker) -> None:
        worker.absent, worker.leaving, worker.ending = False, False, asyncio.Event()
        worker.task = asyncio.create_task(self._supervise(worker))
        self._tasks.append(worker.task)

    def ready(self) -> bool:
        return any(worker.ready for worker in self._workers)

    def free(self) -> int:
        reserved = 0 if self._reserved is None else self._reserved.counted
        return self._credits - reserved

    def _recount(self, worker: Worker) -> None:
        """Keep the sum of the credits, so that :meth:`free` need not ask a thousand workers."""
        credits = worker.credits
        self._credits += credits - worker.counted
        worker.counted = credits

    def _shared(self) -> list[Worker]:
        """The workers that any job may use."""
        return [
            w for w in self._present() if w is not self._reserved and not (w.leaving or w.moving)
        ]

    def submit(self, request: Generate, session: str = "") -> int:
        home = self._home(request)
        prompt = self._prompt(request)
        adapters = request.params.adapters
        linked = [(each.id, each.link) for each in self._shared()]
        offers = [link.offer(id_, prompt, adapters) for id_, link in linked if link is not None]
        last = self._sessions.last(session)
        choice = choose(offers, neighbour(request), home.id if home is not None else None, last)
        if choice is None:
            raise RuntimeError("no worker has a free credit")
        target, reason = choice
        self._sessions.note(session, target)
        self._placements[reason] += 1
        return self._give(request, self._workers[target - self._first], home)

    def _home(self, request: Generate) -> Worker | None:
        """The worker that keeps the state of a parked generation."""
        if request.attempt <= 1:
            return None  # it was nowhere
        linked = (worker for worker in self._workers if worker.link is not None)
        return next((w for w in linked if w.link is not None and request.id in w.link.parked), None)

    def _prompt(self, request: Generate) -> Chain:
        """The beginning of its prompt, where there is a choice."""
        return self._chains.of(request) if len(self._workers) > 1 else UNKNOWN

    def _give(self, request: Generate, worker: Worker, home: Worker | None) -> int:
        if home is not None and home is not worker and home.link is not None:
            home.link.cancel(request.id)  # it goes on elsewhere, from its tokens
        assert worker.link is not None, "a worker with a free credit has a link"
        worker.link.generate(request, self._prompt(request))
        self._recount(worker)
        return worker.id

    def node(self, worker: int) -> str | None:
        process = self._workers[worker - self._first].process
        return process.node.name if process is not None and process.node is not None else None

    def reserve(self) -> bool:
        # Chosen anew each time: it may have died, and another be empty first. One that starts comes
        # before one that would have to end long generations, and after one that is empty.
        staying = [w for w in self._present() if not w.leaving] or self._workers
        self._reserved = min(staying, key=lambda w: (w.link is None, w.busy, not w.ready))
        return self._reserved.ready and not self._reserved.busy

    def submit_alone(self, request: Generate) -> int:
        assert self._reserved is not None, "reserve() comes first"
        return self._give(request, self._reserved, self._home(request))

    def release(self) -> bool:
        reserved, self._reserved = self._reserved, None
        return reserved is not None

    def cancel(self, id_: int) -> None:
        for worker in self._workers:
            if worker.link is not None:
                worker.link.cancel(id_)

    def park(self, id_: int) -> None:
        for worker in self._workers:
            if worker.link is not None and id_ in worker.link.in_flight:
                worker.link.park(id_)

    async def adapt(self, adapters: Sequence[AdapterFile]) -> None:
        await self._adapters.change(adapters)

    def _lacks_adapter(self, link: WorkerLink) -> None:
        """A worker has started without an adapter: requests for it fail there."""

    def _ready_links(self) -> list[WorkerLink]:
        return [w.link for w in self._workers if w.ready and w.link is not None]

    async def ask(self, question: Question) -> bytes:
        return await questions.ask(self._askable, question)

    def _askable(self) -> list[WorkerLink]:
        """All that are ready, but for one whose job runs alone: a question might be to blame."""
        staying = [w for w in self._workers if w.ready and not w.leaving]
        ready = [w for w in self._shared() if w.ready] or staying
        return [w.link for w in ready if w.link is not None]

    def drain(self) -> None:
        self._draining = True

    def workers(self) -> list[WorkerStatus]:
        slots, file = self._spec.slots, self._host.file_state
        return [each.status(slots, file, draining=self._draining) for each in self._present()]

    def placements(self) -> Mapping[str, int]:
        return self._placements

    def leaks(self) -> list[str]:
        found = []
        for worker in self._workers:
            held = worker.link.unanswered() if worker.link is not None else []
            if held:
                found.append(f"worker {worker.id} holds credits of {held}")
            if worker.link is not None and worker.link.parked:
                found.append(f"worker {worker.id} keeps the state of {sorted(worker.link.parked)}")
        if self._reserved is not None:
            found.append(f"worker {self._reserved.id} is reserved")
        return found

    async def stop(self) -> None:
        self._stopping.set()
        for worker in self._workers:
            self._end(worker)
        await asyncio.gather(*self._tasks)
        await self._host.close()

    @staticmethod
    def _end(worker: Worker) -> None:
        """End the process of a worker; no other one follows it."""
        worker.ending.set()
        if worker.process is not None and not worker.ready:
            worker.process.kill()  # it may be deaf yet: its libraries are being read
        if worker.link is not None:
            worker.link.close()

    # ------------------------------------------------------------------ fewer and more workers

    @property
    def size(self) -> int:
        """The number of workers that are there and stay."""
        return sum(not worker.leaving for worker in self._present())

    @property
    def capacity(self) -> int:
        """The number of workers that the pool was made for."""
        return len(self._workers)

    def begin_with(self, count: int) -> None:
        """Let :meth:`start` begin with ``count`` workers; :meth:`grow` brings the others."""
        for worker in self._workers[count:]:
            worker.absent = True

    async def hold(self) -> None:
        pass  # its size changes by its caller alone

    def resume(self) -> None:
        for _ in range(self.capacity - self.size):
            self.grow()

    async def shrink(self) -> None:
        """Give one worker no new work, and end it when it has none; returns when it is gone."""
        staying = [worker for worker in self._present() if not worker.leaving]
        worker = min(staying, key=lambda w: (w.ready, w.busy))
        worker.leaving = True
        self._recount(worker)
        if self._reserved is worker:
            self._reserved = None
        while worker.occupied and not self._stopping.is_set():
            await self._pause(LOOK_S, worker.ending)
        self._end(worker)
        assert worker.task is not None, "it was started"
        await asyncio.gather(worker.task, return_exceptions=True)
        await self._host.leave(worker.id)
        worker.absent = True

    def grow(self) -> None:
        """Start one worker more, of those that the pool was made for."""
        empty = next((worker for worker in self._workers if worker.absent), None)
        if empty is not None and not self._stopping.is_set():
            self._begin_place(empty)

    # ------------------------------------------------------------------ one worker's life

    async def _supervise(self, worker: Worker) -> None:
        """Keep one process running; pause longer after each that did not get to work."""
        pause = 0.0
        while True:
            link, reason = await self._live(worker)
            if worker.ending.is_set() or worker.leaving:
                return
            patient = self._patient(worker)
            if not patient and self._fail_start(reason):
                return
            if worker.lacking:
                pause = max(pause, LACKING_S)
            if link is None or link.ready is None:
                self._count_failure(reason, tell=not patient)
            elif link.load.steps:
                pause = 0.0  # a client waits for the rest of an answer
            log.error("worker %d: %s; restarting in %.2f s", worker.id, reason, pause)
            await self._pause(pause, worker.ending)
            if worker.ending.is_set() or worker.leaving:
                return
            pause = min(max(BACKOFF_FIRST_S, 2 * pause), BACKOFF_MAX_S)
            worker.restarts += 1

    def _patient(self, worker: Worker) -> bool:
        """Return whether a worker has only found no files so far, and another may find some."""
        found_none = (
            each.lacking >= MAX_LACKING and each.process is None for each in self._present()
        )
        return worker.lacking > 0 and not all(found_none)

    def _count_failure(self, reason: str, *, tell: bool) -> None:
        """End the wait for workers that don't come; starting them is tried for ever."""
        self._failures += 1
        if tell and self._failures >= MAX_FAILURES and not self.ready():
            self.trouble = f"no worker can be started: {reason}"
            assert self._listener is not None
            self._listener.on_trouble(self.trouble)

    async def _pause(self, seconds: float, ending: asyncio.Event | None = None) -> None:
        """Sleep, but not when the pool is to stop, or ``ending`` is set."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await (ending or self._stopping).wait()

    async def _live(self, worker: Worker) -> tuple[WorkerLink | None, str]:
        """One process from its start to its end: its link, if it had one, and how it ended."""
        await self._host.look()
        if self._host.refusal is not None:
            return None, self._host.refusal
        if worker.ending.is_set():
            return None, "the pool stops"
        try:
            process = await self._begin(worker)
        except OSError as error:
            worker.process = None
            worker.lacking = worker.lacking + 1 if isinstance(error, NotThere) else 0
            return None, f"a worker can't be started: {error}"
        worker.lacking = 0
        link = process.link
        if worker.ending.is_set():
            link.close()  # it was ended before there was anything to close
        code = await process.end()
        worker.process = None
        doing = "" if link.ready is not None else " while loading the model"
        how = "was lost" if code is None else f"ended with exit code {code}"
        return link, f"a worker {how}{doing}"

    async def _begin(self, worker: Worker) -> HostedProcess:
        """Start a process. Raises OSError."""
        process = worker.process = self._host.process(self._place(worker), self._worker_spec())
        await process.start()
        return process

    def _worker_spec(self) -> WorkerSpec:
        """Return the spec of a worker that starts now."""
        return msgspec.structs.replace(self._spec, adapters=self._adapters.files)

    def _place(self, worker: Worker) -> WorkerPlace:
        return WorkerPlace(
            worker.id,
            Watchdog(self._tick_s, self._silence_s, self._step_s),
            lambda link, message: self._on_message(worker, link, message),
            lambda link: self._on_closed(worker, link),
        )

    async def _watch(self) -> None:
        """Kill workers that are alive but stuck; their end is then like any other."""
        while not self._stopping.is_set():
            await self._pause(self._tick_s)
            for worker in self._workers:
                if worker.link is None or worker.process is None:
                    continue
                reason = worker.link.tick()
                if reason is not None and not worker.process.killed:
                    log.error("worker %d (pid %s): %s", worker.id, worker.process.pid, reason)
                    worker.process.kill()

    async def _watch_files(self) -> None:
        while not self._stopping.is_set():
            await self._pause(FILES_S)
            await self._host.look()

    # ------------------------------------------------------------------ what a worker says

    def _on_message(self, worker: Worker, link: WorkerLink, message: Report) -> None:
        assert self._listener is not None
        self._recount(worker)
        if isinstance(message, Step):
            ended = False
            for event in message.events:
                self._listener.on_event(event)
                ended = ended or event.id not in link.in_flight
            if ended:
                self._listener.on_credit()
        elif isinstance(message, Ready):
            if message.refused and self._fail_start(message.refused[0].problem):
                return
            log.info("worker %d (pid %d) is ready", worker.id, message.pid)
            self._adapters.greet(link, message)
            self.model, self.trouble, self._failures = message.model, None, 0
            if self._first_ready is not None and not self._first_ready.done():
                self._first_ready.set_result(None)
            self._listener.on_credit()
        elif isinstance(message, Violated):
            self._listener.on_violation(message.message)
        elif isinstance(message, StartupFailed) and not self._fail_start(message.message):
            log.error("worker %d can't serve: %s", worker.id, message.message)

    def _on_closed(self, worker: Worker, link: WorkerLink) -> None:
        """EOF: everything the worker said has been heard, so its death may take effect."""
        self._recount(worker)
        if link.ready is not None and not self._stopping.is_set():
            self._failures = 0  # it had been able to; another that is not says nothing about it
            assert self._listener is not None
            self._listener.on_lost(list(link.in_flight))

    def _fail_start(self, reason: str) -> bool:
        """Before any worker was ever ready, trying again would only hide a bad configuration.

        Returns whether that is the case; then ``reason`` is why :meth:`start` failed.
        """
        if self.model is not None:
            return False
        if self._first_ready is not None and not self._first_ready.done():
            self._first_ready.set_exception(PoolFailed(reason))
        return True
