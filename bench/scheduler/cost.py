"""The cost of a push, a pop and aging while n jobs wait: our heap beside the study project's loop.

Times are CPU times, so that other processes don't count, and medians over batches at a steady size,
with Python's garbage collector off, as ``timeit`` has it. Priorities are spread as widely as
arrivals, so that nothing comes in order by itself.
"""

import asyncio
import gc
import math
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.scheduler.policies import job
from bench.scheduler.pool import SimulatedPool
from bench.scheduler.study import PERIOD_S, RATE, StudyQueue
from bench.scheduler.study_cpp import StudyCpp
from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.dispatch.queue import Queue
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission
from gateway.dispatch.ticket import Ticket
from gateway.ordering.aging import AgingHeap

ARRIVALS_PER_S = 100
GAP_NS = NANO // ARRIVALS_PER_S
BATCHES = 31
PASSES = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """With ``n`` jobs waiting."""

    n: int
    push_ns: float
    push_top_ns: float
    """Of a job that goes before all others: the longest way up."""
    pop_ns: float
    comparisons: float
    """Keys compared per pop: what the clock shows without the memory's part."""
    enter_ns: float
    """Of the whole queue, which keeps turns and bounds beside the heap: filled to n, per job."""
    next_ns: float
    """Of the whole queue, drained from n to nothing, per job."""
    idle_share: float
    """CPU that the real dispatcher burns while n jobs wait and age; share of a core."""
    study_pass_ms: float
    """One pass of the study project's loop, in Python on the same heapq."""
    study_cpp_pass_ms: float | None
    """The same in C++, as the study project has it; None without a compiler."""


def share(pass_ms: float) -> float:
    """Of a core, for a loop that sleeps for its period between two passes."""
    return pass_ms / (pass_ms + 1000 * PERIOD_S)


def measure(n: int, study_cpp: StudyCpp | None, idle_s: float = 2.0) -> Cost:
    """Everything of size ``n``; one structure at a time is in memory."""
    with _uncollected():
        push, push_top, pop = _heap(n)
        comparisons = count_comparisons(n)
        enter, next_ = _queue(n)
        study_pass = _study_pass(n)
        idle = asyncio.run(idle_share(n, idle_s))
    in_cpp = None if study_cpp is None else study_cpp.pass_ms(n, PASSES)
    return Cost(
        n=n,
        push_ns=push,
        push_top_ns=push_top,
        pop_ns=pop,
        comparisons=comparisons,
        enter_ns=enter,
        next_ns=next_,
        idle_share=idle,
        study_pass_ms=study_pass,
        study_cpp_pass_ms=in_cpp,
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


class _Arrivals:
    """Whole random priorities at a constant rate."""

    def __init__(self, n: int) -> None:
        self._rng = random.Random(n)
        self._spread = round(RATE * n / ARRIVALS_PER_S)
        self._at = 0

    def __call__(self, count: int) -> list[tuple[float, int]]:
        """(priority, arrival in ns) of the next ``count``."""
        start, self._at = self._at, self._at + count * GAP_NS
        return [(self._priority(), start + i * GAP_NS) for i in range(count)]

    def _priority(self) -> float:
        return float(self._rng.randint(0, self._spread))

    def urgent(self, count: int) -> list[tuple[float, int]]:
        """Each of them more urgent than everybody before it."""
        top = 3.0 * self._spread
        return [(top + i, self._at) for i in range(count)]


def _fill(heap: AgingHeap[None], arrivals: _Arrivals, n: int) -> None:
    for _ in range(n // 1000):
        for priority, at_ns in arrivals(1000):
            heap.push(None, priority, at_ns)


def _heap(n: int) -> tuple[float, float, float]:
    """ns per push, per push to the top, and per pop."""
    heap: AgingHeap[None] = AgingHeap(RATE)
    arrivals = _Arrivals(n)
    _fill(heap, arrivals, n)
    batch = min(1000, n // 10)
    pushes, tops, pops = [], [], []
    for _ in range(BATCHES):
        pushes.append(_push(heap, arrivals(batch)))
        pops.append(_pop(heap, batch))
        tops.append(_push(heap, arrivals.urgent(batch)))
        _pop(heap, batch)
    return statistics.median(pushes), statistics.median(tops), statistics.median(pops)


def _push(heap: AgingHeap[None], jobs: list[tuple[float, int]]) -> float:
    push = heap.push
    start = time.thread_time_ns()
    for priority, at_ns in jobs:
        push(None, priority, at_ns)
    return (time.thread_time_ns() - start) / len(jobs)


def _pop(heap: AgingHeap[None], count: int) -> float:
    pop = heap.pop
    start = time.thread_time_ns()
    for _ in range(count):
        pop()
    return (time.thread_time_ns() - start) / count


class _Counted(int):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        # Tuples look for the first place where they differ, so every comparison begins here.
        _Counted.compared += 1
        return int.__eq__(self, other)

    __hash__ = int.__hash__


class _CountingHeap(AgingHeap[None]):
    def key(self, priority: float, arrived_ns: int) -> int:
        return _Counted(super().key(priority, arrived_ns))


def count_comparisons(n: int) -> float:
    """Keys compared per pop, with ``n`` jobs waiting."""
    heap = _CountingHeap(RATE)
    _fill(heap, _Arrivals(n), n)
    count = min(1000, n // 10)
    before = _Counted.compared
    for _ in range(count):
        heap.pop()
    return (_Counted.compared - before) / count


def _queue(n: int) -> tuple[float, float]:
    """ns per job into the gateway's whole queue and out of it; one owner, whole random priorities.

    Over all of them, because it sweeps its dead entries now and then: a batch may see no sweep.
    """
    queue = Queue(RATE, SharedAdmission(UNBOUNDED))
    arrivals = _Arrivals(n)(n)
    jobs = {priority: job(0, priority) for priority, _ in arrivals}
    tickets = [Ticket(i, jobs[priority], at_ns) for i, (priority, at_ns) in enumerate(arrivals)]
    start = time.thread_time_ns()
    for ticket in tickets:
        queue.enter(ticket.sequences)
    full = time.thread_time_ns()
    for _ in range(n):
        queue.next(0)
    return (full - start) / n, (time.thread_time_ns() - full) / n


def _study_pass(n: int) -> float:
    """ms; the fastest of some, because the study project gets the benefit of every doubt."""
    queue: StudyQueue[None] = StudyQueue(RATE * PERIOD_S)
    for priority, _ in _Arrivals(n)(n):
        queue.push(None, priority)
    passes = []
    for _ in range(PASSES):
        start = time.thread_time_ns()
        queue.age()
        passes.append((time.thread_time_ns() - start) / 1e6)
    return min(passes)


class _Silent:
    """Implements :class:`gateway.dispatch.observer.Observer`."""

    def on_end(self, ticket: Ticket) -> None: ...
    def on_refused(self, job: Job, error: ForgeError) -> None: ...
    def on_unparked(self, seconds: float) -> None: ...

    def on_violation(self, what: str) -> None: ...


async def idle_share(n: int, seconds: float) -> float:
    """Share of a core that the process burns while ``n`` jobs wait for a slot, in real time."""
    dispatcher = Dispatcher(SimulatedPool(0, ()), RATE, time.monotonic_ns, _Silent())
    running = asyncio.create_task(dispatcher.run())
    waiting = job(0, 1.0)
    for _ in range(n):
        dispatcher.submit(waiting)
    await asyncio.sleep(0.1)
    before = time.process_time()
    await asyncio.sleep(seconds)
    burnt = time.process_time() - before
    running.cancel()
    return burnt / seconds


def growth(first: Cost, last: Cost) -> float:
    """Return how much more a pop would cost if log2(n) comparisons were all."""
    return math.log2(last.n) / math.log2(first.n)
