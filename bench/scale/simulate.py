"""One size of a pool, in virtual time: conversations arrive, and what the gateway does is timed."""

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field

from bench.scale.workers import SLOTS, SimulatedHost, Tally
from bench.scheduler.virtual import VirtualLoop, now_ns
from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.ordering.preemption import PreemptionRules
from gateway.pool.supervisor import SupervisedPool
from workers.protocol import Generate, GenerationParams, Sampling, Text, WorkerSpec

RATE_PER_WORKER = 1.5
"""Requests a second for each worker, which keeps four of ten slots busy if most is cached."""
MIX = {0.0: 0.2, 1.0: 0.7, 2.0: 0.1}
"""Shares of the requests by priority."""
ANSWER = 48
"""Tokens of an answer."""
CONVERSATIONS_PER_WORKER = 10
"""Each has a turn about every seven seconds, and is answered before the next."""
TURN_BYTES, FIRST_BYTES, TURNS = 400, 2000, 12
"""Bytes that a turn adds to its prompt, bytes of the first, and turns of a conversation."""
SPEC = WorkerSpec("none", SLOTS, 1, None, 512, "f16", "f16", "auto", False, 0, "warning", 1.0)


@dataclass
class Outcome:
    """The outcome of one size."""

    workers: int
    seconds: float
    """Virtual time that was measured."""
    requests: int = 0
    tally: Tally = field(default_factory=Tally)
    gateway_ns: int = 0
    """CPU time of the gateway's code, and of its event loop."""
    placing_ns: int = 0
    """The part of it that chose workers and encoded requests."""
    counting_ns: int = 0
    """The part of it that looked for free slots."""
    waits: dict[float, list[float]] = field(default_factory=lambda: {each: [] for each in MIX})
    """Seconds from arrival to the first slot, by priority."""
    placements: dict[str, int] = field(default_factory=dict)

    @property
    def placed(self) -> int:
        """Return how many sequences were given to workers."""
        return sum(self.placements.values())

    @property
    def core(self) -> float:
        """Return the share of a core that the gateway takes, without HTTP."""
        return self.gateway_ns / NANO / self.seconds


class TimedPool(SupervisedPool):
    """The real pool; what its choices cost is added up."""

    outcome: Outcome

    def submit(self, request: Generate, session: str = "") -> int:
        began = time.perf_counter_ns()
        worker = super().submit(request, session)
        self.outcome.placing_ns += time.perf_counter_ns() - began
        return worker

    def free(self) -> int:
        began = time.perf_counter_ns()
        found = super().free()
        self.outcome.counting_ns += time.perf_counter_ns() - began
        return found


class _Waits:
    """Implements :class:`gateway.dispatch.observer.Observer`."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def on_end(self, ticket: Ticket) -> None:
        if self._outcome.tally.counting and ticket.dispatched_ns is not None:
            waited = (ticket.dispatched_ns - ticket.arrived_ns) / NANO
            self._outcome.waits[ticket.job.priority].append(waited)
            self._outcome.requests += 1

    def on_refused(self, job: Job, error: ForgeError) -> None:
        raise AssertionError(error)

    def on_violation(self, what: str) -> None:
        raise AssertionError(what)

    def on_unparked(self, seconds: float) -> None: ...


class Talk:
    """Conversations whose prompts grow; each turn begins with all turns before it."""

    def __init__(self, workers: int, seed: int) -> None:
        self._random = random.Random(seed)
        self._turns = [
            self._random.randrange(TURNS) for _ in range(workers * CONVERSATIONS_PER_WORKER)
        ]
        self._next = itertools.cycle(self._random.sample(range(len(self._turns)), len(self._turns)))
        self._names = list(range(len(self._turns)))
        self._filler = "".join(self._random.choices("abcdefgh ", k=FIRST_BYTES + 99 * TURN_BYTES))

    def gap_s(self, rate: float) -> float:
        """Return the time until the next arrival."""
        return self._random.expovariate(rate)

    def job(self) -> Job:
        """Return a conversation's next turn."""
        which = next(self._next)
        self._turns[which] += 1
        if self._turns[which] > TURNS:
            self._turns[which] = 1
            self._names[which] += len(self._names)
        size = FIRST_BYTES + self._turns[which] * TURN_BYTES
        text = f"{self._names[which]}\n{self._filler[:size]}"
        (priority,) = self._random.choices(list(MIX), list(MIX.values()))
        params = GenerationParams(Sampling(seed=0), max_tokens=ANSWER)
        return Job((Text(text),), params, priority, created=0.0, size=size)


def simulate(workers: int, warm_s: float, seconds: float, seed: int = 1) -> Outcome:
    """Play ``warm_s`` seconds, and measure those after."""
    outcome = Outcome(workers, seconds)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_play(outcome, warm_s, Talk(workers, seed)))
    return outcome


async def _play(outcome: Outcome, warm_s: float, talk: Talk) -> None:
    tally, workers = outcome.tally, outcome.workers
    pool = TimedPool(SPEC, workers, SimulatedHost(tally), silence_s=30, step_s=300)
    pool.outcome = outcome
    rules = PreemptionRules(0.5, 0.2)
    dispatcher = Dispatcher(pool, 0.2, now_ns, _Waits(outcome), preemption=rules)
    running = asyncio.create_task(dispatcher.run())
    await pool.start(dispatcher)
    arriving = asyncio.create_task(_arrive(dispatcher, talk, RATE_PER_WORKER * workers, tally))
    await asyncio.sleep(warm_s)
    began, cpu_began, own = time.perf_counter_ns(), time.process_time_ns(), tally.own_ns
    outcome.placing_ns = outcome.counting_ns = tally.taking_ns = 0
    before = dict(pool.placements())
    tally.counting = True
    await asyncio.sleep(outcome.seconds)
    tally.counting = False
    # The parts are timed by the wall's clock, since asking for CPU time takes longer than most of
    # them. What other programs took in between is taken from all alike.
    passed, cpu = time.perf_counter_ns() - began, time.process_time_ns() - cpu_began
    outcome.gateway_ns = round((passed - (tally.own_ns - own)) * cpu / passed)
    outcome.placing_ns = round((outcome.placing_ns - tally.taking_ns) * cpu / passed)
    outcome.counting_ns = round(outcome.counting_ns * cpu / passed)
    after = pool.placements()
    outcome.placements = {reason: after[reason] - before[reason] for reason in after}
    arriving.cancel()
    running.cancel()
    await asyncio.gather(arriving, running, return_exceptions=True)
    await pool.stop()


async def _arrive(dispatcher: Dispatcher, talk: Talk, rate: float, tally: Tally) -> None:
    """Submit jobs at random instants, for ever. Their tickets are not read: they are short."""
    while True:
        began = time.perf_counter_ns()
        gap, job = talk.gap_s(rate), talk.job()
        tally.own_ns += time.perf_counter_ns() - began
        await asyncio.sleep(gap)
        dispatcher.submit(job)
