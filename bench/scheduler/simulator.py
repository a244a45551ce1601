"""One trace under one policy, in virtual time, until every job has been served."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bench.scheduler.policies import Desk, Policy
from bench.scheduler.pool import Served, SimulatedPool
from bench.scheduler.traces import Trace
from bench.scheduler.virtual import VirtualLoop, at_ns


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a trace; ``jobs`` are in the order of its arrivals."""

    trace: Trace
    policy: Policy
    jobs: list[Served]

    def order(self) -> list[int]:
        """Numbers of the arrivals, in the order of their first start."""
        return sorted(range(len(self.jobs)), key=lambda number: self.jobs[number].turn)


def simulate(trace: Trace, policy: Policy) -> Outcome:
    """Play ``trace``; after its last arrival the simulation goes on until all are served."""
    jobs = [Served(arrival) for arrival in trace.arrivals]
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_play(trace, policy, jobs))
    return Outcome(trace, policy, jobs)


async def _play(trace: Trace, policy: Policy, jobs: list[Served]) -> None:
    pool = SimulatedPool(trace.slots, jobs)
    desk = policy.open(pool)
    await pool.start(desk.listener)
    _arrive(desk, trace, _instants(trace))
    failed = _failure()
    dispatching = asyncio.create_task(desk.run())
    served = asyncio.create_task(pool.served.wait())
    ends: list[asyncio.Future[Any]] = [failed, dispatching, served]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        if end.done():
            end.result()  # raises what went wrong
    dispatching.cancel()


def _failure() -> asyncio.Future[None]:
    """Raises what a timer raised, which asyncio would only log."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()

    def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not failed.done():
            failed.set_exception(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(fail)
    return failed


def _instants(trace: Trace) -> Iterator[tuple[int, list[int]]]:
    """Yield the times of arrivals, and their numbers."""
    numbers = range(len(trace.arrivals))
    for when, group in groupby(numbers, key=lambda number: trace.arrivals[number].at_ns):
        yield when, list(group)


def _arrive(desk: Desk, trace: Trace, instants: Iterator[tuple[int, list[int]]]) -> None:
    """Set a timer for the next arrivals, which then sets the one after it.

    A timer, not a task that sleeps: timers of one instant run before anybody decides anything.
    """
    instant = next(instants, None)
    if instant is None:
        return
    when, numbers = instant

    def submit() -> None:
        for number in numbers:
            desk.submit(number, trace.arrivals[number].priority)
        _arrive(desk, trace, instants)

    asyncio.get_running_loop().call_at(at_ns(when), submit)
