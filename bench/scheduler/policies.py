"""The policies that are compared: all but the study project's are the gateway's own dispatcher."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bench.scheduler.pool import prompt
from bench.scheduler.study import RATE, StudyScheduler
from bench.scheduler.virtual import now_ns
from gateway.core.errors import ForgeError
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from gateway.ordering.preemption import PreemptionRules
from gateway.pool import Listener, Pool
from workers.protocol import Generate, GenerationParams, Sampling

QUANTUM_S = 0.5
"""The gateway's default for ``--quantum``."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A scheduler at work on a pool."""

    submit: Callable[[int, float], object]
    """Takes the number of an arrival, and its priority."""
    run: Callable[[], Coroutine[Any, Any, None]]
    listener: Listener


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to order what waits; ``open`` starts one on a pool, inside a virtual loop."""

    name: str
    open: Callable[[Pool], Desk]


class _Silent:
    """Implements :class:`gateway.dispatch.observer.Observer`: the pool keeps its own books."""

    def on_end(self, ticket: Ticket) -> None:
        assert ticket.error is None, ticket.error

    def on_refused(self, job: Job, error: ForgeError) -> None:
        raise AssertionError(error)

    def on_violation(self, what: str) -> None:
        raise AssertionError(what)

    def on_unparked(self, seconds: float) -> None:
        assert seconds >= 0


def job(number: int, priority: float) -> Job:
    """All from one owner: fair share between owners is another question."""
    return Job((prompt(number),), GenerationParams(Sampling(seed=0)), priority, created=0.0)


def _forge(
    rate: float, *, level: bool = False, preemption: PreemptionRules | None = None
) -> Callable[[Pool], Desk]:
    """The real dispatcher; ``level`` hides the priorities from it."""

    def open_(pool: Pool) -> Desk:
        dispatcher = Dispatcher(pool, rate, now_ns, _Silent(), preemption=preemption)

        def submit(number: int, priority: float) -> Ticket:
            return dispatcher.submit(job(number, 0.0 if level else priority))

        return Desk(submit, dispatcher.run, dispatcher)

    return open_


def _study(*, integer: bool) -> Callable[[Pool], Desk]:
    """The study project's loop; a request is what the dispatcher would make of a job."""

    def open_(pool: Pool) -> Desk:
        scheduler = StudyScheduler(pool, integer=integer)

        def submit(number: int, priority: float) -> None:
            params = GenerationParams(Sampling(seed=0))
            request = Generate(number, 1, prompt(number), params, 0.0, priority=priority)
            scheduler.submit(request)

        return Desk(submit, scheduler.run, scheduler)

    return open_


FIFO = Policy("FIFO", _forge(0.0, level=True))
STRICT = Policy("strict priority", _forge(0.0))
STUDY_INT = Policy("study project, as published (int)", _study(integer=True))
STUDY = Policy("study project, as described", _study(integer=False))
FORGE = Policy("Forge, preempt off", _forge(RATE))
FORGE_PREEMPT = Policy(
    "Forge, preempt on", _forge(RATE, preemption=PreemptionRules(QUANTUM_S, RATE))
)

POLICIES = (FIFO, STRICT, STUDY_INT, STUDY, FORGE, FORGE_PREEMPT)
