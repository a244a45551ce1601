"""A pool whose workers only take time: each job holds its slot for as long as its trace says."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.scheduler.traces import Arrival
from bench.scheduler.virtual import at_ns, now_ns
from gateway.core.clock import NANO
from gateway.pool import Listener, WorkerStatus
from workers.protocol import (
    AdapterFile,
    Finished,
    Generate,
    Load,
    ModelInfo,
    Parked,
    Question,
    Text,
)


def prompt(index: int) -> Text:
    """Return a mark that tells the pool which of the trace's arrivals a generation is."""
    return Text(str(index))


def index(request: Generate) -> int:
    """The inverse of :func:`prompt`."""
    assert isinstance(request.prompt, Text)
    return int(request.prompt.text)


@dataclass(slots=True)
class Served:
    """The outcome of one arrival."""

    arrival: Arrival
    turn: int = -1
    """Its place in the order of first starts; negative before."""
    ended_ns: int = -1
    runs: list[tuple[int, int]] = field(default_factory=list)
    """From when to when it held a slot, in ns."""

    @property
    def ran_ns(self) -> int:
        """Time for which it held a slot so far."""
        return sum(end - start for start, end in self.runs)

    @property
    def parks(self) -> int:
        """Number of times that it had to give up its slot."""
        return len(self.runs) - 1

    @property
    def wait_s(self) -> float:
        """Seconds from arrival to end without a slot: in the queue, or parked."""
        return (self.ended_ns - self.arrival.at_ns - self.ran_ns) / NANO


@dataclass(slots=True)
class _Run:
    """A generation that holds a slot."""

    request: Generate
    job: Served
    since_ns: int
    timer: asyncio.TimerHandle


@dataclass
class SimulatedPool:
    """Implements :class:`gateway.pool.Pool`; to be used inside a virtual loop."""

    slots: int
    jobs: Sequence[Served]
    model: ModelInfo | None = None
    trouble: str | None = None
    finished: int = 0
    served: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once every job has been served."""
    _running: dict[int, _Run] = field(default_factory=dict)
    _turns: int = 0
    _listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        self._listener = listener

    def ready(self) -> bool:
        return True

    def free(self) -> int:
        return self.slots - len(self._running)

    def submit(self, request: Generate, session: str = "") -> int:
        assert self.free() > 0, "submitted without a free credit"
        assert request.id not in self._running, "submitted twice"
        job, now = self.jobs[index(request)], now_ns()
        assert job.ended_ns < 0, "served twice"
        if job.turn < 0:
            job.turn = self._turns
            self._turns += 1
        end = at_ns(now + job.arrival.service_ns - job.ran_ns)
        timer = asyncio.get_running_loop().call_at(end, self._finish, request.id)
        self._running[request.id] = _Run(request, job, now, timer)
        return 0

    def node(self, worker: int) -> str | None:
        return None

    def reserve(self) -> bool:
        raise AssertionError("no worker dies here")

    def submit_alone(self, request: Generate) -> int:
        raise AssertionError("no worker dies here")

    def release(self) -> bool:
        return False

    def park(self, id_: int) -> None:
        """The answer comes later, as it does from a worker, but at the same instant."""
        asyncio.get_running_loop().call_soon(self._park, id_, self._running[id_].request.attempt)

    def cancel(self, id_: int) -> None:
        raise AssertionError("nobody gives up here")

    async def adapt(self, adapters: Sequence[AdapterFile]) -> None:
        return None

    async def ask(self, question: Question) -> bytes:
        raise AssertionError("nobody asks here")

    def drain(self) -> None:
        return None

    def workers(self) -> list[WorkerStatus]:
        return [WorkerStatus(0, None, "ready", self.slots, len(self._running), 0, Load())]

    def placements(self) -> Mapping[str, int]:
        return {}

    def leaks(self) -> list[str]:
        return []

    async def stop(self) -> None:
        return None

    def _finish(self, id_: int) -> None:
        run = self._leave(id_)
        run.job.ended_ns = now_ns()
        self.finished += 1
        if self.finished == len(self.jobs):
            self.served.set()
        self._tell(Finished(id_, run.request.attempt, "stop", [], ""))

    def _park(self, id_: int, attempt: int) -> None:
        run = self._running.get(id_)
        if run is None or run.request.attempt != attempt:
            return  # it ended at the same instant
        self._leave(id_).timer.cancel()
        self._tell(Parked(id_, attempt))

    def _leave(self, id_: int) -> _Run:
        run = self._running.pop(id_)
        run.job.runs.append((run.since_ns, now_ns()))
        return run

    def _tell(self, event: Finished | Parked) -> None:
        assert self._listener is not None
        self._listener.on_event(event)
        self._listener.on_credit()
