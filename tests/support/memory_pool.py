"""A pool in memory: implements gateway.pool.Pool, and does what a test tells it.

No worker computes here. The test plays the workers: it emits their events, ends their generations
and lets them die. Credits are counted as the real pool counts them, per worker.
"""

import asyncio
import itertools
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Row
from typing import Any

from gateway.core.errors import ForgeError
from gateway.dispatch.job import Job
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.ticket import Ticket
from gateway.pool import AdapterRefused, Listener, WorkerStatus
from gateway.pool.placement import Offer, choose
from workers.protocol import (
    COMPUTE_FAILED,
    AdapterFile,
    Chat,
    Delta,
    Failed,
    Finished,
    Generate,
    GenerationParams,
    Load,
    ModelInfo,
    Parked,
    Question,
    Sampling,
    Started,
)


class MemoryPool:
    """Implements :class:`gateway.pool.Pool`."""

    def __init__(self, *slots: int) -> None:
        """One worker for each number, with so many slots."""
        self.model: ModelInfo | None = None
        self.trouble: str | None = None
        self.reserved: int | None = None
        self.alone: Generate | None = None
        """The last generation that was given a worker of its own."""
        self.slots = slots
        self.in_flight: list[dict[int, Generate]] = [{} for _ in slots]
        self.submitted: list[Generate] = []
        """Everything that was ever given to a worker, in that order."""
        self.sessions: list[str] = []
        """The conversations of those that were submitted beside others."""
        self.cancelled: list[int] = []
        self.asked_to_park: list[int] = []
        self.homes: dict[int, int] = {}
        """Worker that keeps the cells of each parked generation."""
        self.asked: list[tuple[Question, asyncio.Future[bytes]]] = []
        """Every question, and where the test may put the answer."""
        self.adapters: tuple[AdapterFile, ...] = ()
        self.refusal: str | None = None
        """The reason why no worker takes an adapter."""
        self.draining = False
        self.nodes: dict[int, str] = {}
        """Machines of workers, as a cluster has them."""
        self._listener: Listener | None = None
        self._tokens = itertools.count(1000)

    # gateway.pool.Pool

    async def start(self, listener: Listener) -> None:
        self.attach(listener)

    def ready(self) -> bool:
        return True

    def free(self) -> int:
        return sum(self._free().values())

    def submit(self, request: Generate, session: str = "") -> int:
        offers = [Offer(*offer) for offer in self._free().items()]
        choice = choose(offers, home=self.homes.pop(request.id, None))
        assert choice is not None, "submitted without a free credit"
        worker, _ = choice
        assert request.id not in self.running(), "submitted twice"
        self.in_flight[worker][request.id] = request
        self.submitted.append(request)
        self.sessions.append(session)
        return worker

    def node(self, worker: int) -> str | None:
        return self.nodes.get(worker)

    def reserve(self) -> bool:
        self.reserved = min(range(len(self.slots)), key=lambda w: len(self.in_flight[w]))
        return not self.in_flight[self.reserved]

    def submit_alone(self, request: Generate) -> int:
        assert self.reserved is not None
        assert not self.in_flight[self.reserved], "not alone"
        self.homes.pop(request.id, None)
        self.in_flight[self.reserved][request.id] = request
        self.submitted.append(request)
        self.alone = request
        return self.reserved

    def release(self) -> bool:
        reserved, self.reserved = self.reserved, None
        return reserved is not None

    def cancel(self, id_: int) -> None:
        self.cancelled.append(id_)

    def park(self, id_: int) -> None:
        # A worker answers once, however often it is asked, and not for what has ended.
        if id_ in self.running() and id_ not in self.asked_to_park:
            self.asked_to_park.append(id_)

    async def adapt(self, adapters: Row[AdapterFile]) -> None:
        if self.refusal is not None:
            raise AdapterRefused(self.refusal)
        self.adapters = tuple(adapters)

    async def ask(self, question: Question) -> bytes:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.asked.append((question, answer))
        return await answer

    def drain(self) -> None:
        self.draining = True

    def workers(self) -> list[WorkerStatus]:
        return [
            WorkerStatus(id_, None, "ready", slots, len(self.in_flight[id_]), 0, Load())
            for id_, slots in enumerate(self.slots)
        ]

    def placements(self) -> Mapping[str, int]:
        return {}

    def leaks(self) -> list[str]:
        found = [f"worker {w} holds {list(held)}" for w, held in enumerate(self.in_flight) if held]
        return found + ([] if self.reserved is None else [f"worker {self.reserved} is reserved"])

    async def stop(self) -> None:
        return None

    # What a test makes the workers do.

    def attach(self, listener: Listener) -> None:
        self._listener = listener

    def running(self) -> dict[int, Generate]:
        """The generations that hold a credit, by id."""
        return {id_: request for worker in self.in_flight for id_, request in worker.items()}

    def begin(self, id_: int, prompt: int = 7, cached: int = 3) -> None:
        """The generation took its slot."""
        self.listener.on_event(Started(id_, self.running()[id_].attempt, prompt, cached))

    def progress(self, id_: int, tokens: int = 1) -> list[int]:
        """The generation sampled some tokens, each with an id of its own; those ids."""
        ids = [next(self._tokens) for _ in range(tokens)]
        self.listener.on_event(Delta(id_, self.running()[id_].attempt, ids, "x" * tokens))
        return ids

    def finish(self, id_: int, reason: str = "stop") -> list[int]:
        """The generation ended with one more token, whose id this returns."""
        request = self._release(id_)
        ids = [] if reason == "cancelled" else [next(self._tokens)]
        self.listener.on_event(Finished(id_, request.attempt, reason, ids, "x" * len(ids)))
        self.listener.on_credit()
        return ids

    def fail(self, id_: int) -> None:
        """The generation could not be computed."""
        request = self._release(id_)
        self.listener.on_event(Failed(id_, request.attempt, COMPUTE_FAILED, "llama_decode"))
        self.listener.on_credit()

    def yield_slot(self, id_: int) -> None:
        """The generation left its slot, as it was asked to."""
        (home,) = (n for n, worker in enumerate(self.in_flight) if id_ in worker)
        request = self._release(id_)
        self.homes[id_] = home
        self.listener.on_event(Parked(id_, request.attempt))
        self.listener.on_credit()

    def die(self, worker: int) -> list[int]:
        """The worker died; another one takes its place at once. The ids it had."""
        lost = list(self.in_flight[worker])
        self.homes = {id_: home for id_, home in self.homes.items() if home != worker}
        self.asked_to_park = [id_ for id_ in self.asked_to_park if id_ not in lost]
        self.in_flight[worker] = {}
        self.listener.on_lost(lost)
        self.listener.on_credit()
        return lost

    @property
    def listener(self) -> Listener:
        assert self._listener is not None
        return self._listener

    def _free(self) -> dict[int, int]:
        free = {id_: n - len(self.in_flight[id_]) for id_, n in enumerate(self.slots)}
        return {id_: n for id_, n in free.items() if id_ != self.reserved}

    def _release(self, id_: int) -> Generate:
        self.asked_to_park = [asked for asked in self.asked_to_park if asked != id_]
        (worker,) = (worker for worker in self.in_flight if id_ in worker)
        return worker.pop(id_)


class Ends:
    """Implements :class:`gateway.dispatch.observer.Observer`: who ended, in that order."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.violations: list[str] = []

    def on_end(self, ticket: Ticket) -> None:
        assert ticket.ended
        assert ticket.ended_ns is not None
        self.tickets.append(ticket)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        raise AssertionError("the dispatcher raises instead")

    def on_violation(self, what: str) -> None:
        self.violations.append(what)

    def on_unparked(self, seconds: float) -> None:
        assert seconds >= 0


class Clock:
    """Nanoseconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


PARAMS = frozenset(GenerationParams.__struct_fields__)


def job(priority: float = 1.0, **changes: Any) -> Job:
    """A job that asks for nothing special; ``changes``: fields of Job and of its params."""
    prompt = Chat([{"role": "user", "content": "hello"}])
    of_params = {name: changes.pop(name) for name in PARAMS & changes.keys()}
    params = GenerationParams(**{"sampling": Sampling(seed=1)} | of_params)
    return Job((prompt,), params, priority, 1.5e9, **changes)


def only(ticket: Ticket) -> Sequence:
    """The sequence of a ticket that has one."""
    (sequence,) = ticket.sequences
    return sequence


def ids(items: Iterable[Ticket | Sequence]) -> list[int]:
    return [item.id for item in items]
