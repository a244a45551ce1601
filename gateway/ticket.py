"""The life of one request, and the channel through which its events reach the client.

The transition table below is the whole truth about what may follow what: a ticket ends exactly
once, and an illegal move raises.
"""

import asyncio
import secrets
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

from gateway.aging import Waiting
from gateway.errors import ForgeError
from gateway.usage import Usage
from workers.protocol import Chat, Delta, Finished, Generate, Sampling, Started, Text

ClientEvent = Started | Delta | Finished


@dataclass(frozen=True, slots=True)
class Job:
    """A validated request: nothing downstream checks it again."""

    prompt: Chat | Text
    sampling: Sampling
    priority: float
    created: float
    """Unix seconds; the date that the model's template sees."""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    timeout: float | None = None
    """Seconds from arrival to the end of the answer."""
    size: int = 0
    """Bytes of the body, the measure of what it costs to let the job wait."""


class State(Enum):
    WAITING = auto()
    RUNNING = auto()
    FINISHED = auto()
    FAILED = auto()
    CANCELLED = auto()


class Move(Enum):
    DISPATCH = auto()
    REQUEUE = auto()
    FINISH = auto()
    FAIL = auto()
    CANCEL = auto()


TRANSITIONS: dict[tuple[State, Move], State] = {
    (State.WAITING, Move.DISPATCH): State.RUNNING,
    (State.WAITING, Move.FAIL): State.FAILED,
    (State.WAITING, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.REQUEUE): State.WAITING,
    (State.RUNNING, Move.FINISH): State.FINISHED,
    (State.RUNNING, Move.FAIL): State.FAILED,
    (State.RUNNING, Move.CANCEL): State.CANCELLED,
}


class IllegalMove(Exception):
    """The dispatcher tried something that a ticket in this state can't do: a bug."""


class Ticket:
    """One request between submit and its end. Written by the dispatcher, read by one client."""

    def __init__(self, id_: int, job: Job, arrived_ns: int) -> None:
        # For the ticket's life.
        self.id = id_
        self.request_id = secrets.token_hex(12)
        """The name that clients see."""
        self.job = job
        self.arrived_ns = arrived_ns
        self.place: Waiting[Ticket] | None = None
        # Per attempt on a worker.
        self.state = State.WAITING
        self.attempt = 0
        self.slot_since_ns = 0
        self.parked_since_ns: int | None = None
        self.parked_ns = 0
        """How long it was parked, in total; a park that goes on is not in it yet."""
        self.deaths = 0
        """Workers that died with this job since it last emitted a token."""
        # What came so far.
        self.ids: list[int] = []
        self.started: Started | None = None
        self.dispatched_ns: int | None = None
        self.first_token_ns: int | None = None
        self.ended_ns: int | None = None
        self.timer: asyncio.TimerHandle | None = None
        """Ends it when its time is over."""
        self.error: ForgeError | None = None
        # The channel.
        self._events: deque[ClientEvent] = deque()
        self._wake = asyncio.Event()

    @property
    def priority(self) -> float:
        """The base priority."""
        return self.job.priority

    @property
    def ended(self) -> bool:
        return self.state in (State.FINISHED, State.FAILED, State.CANCELLED)

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        started = self.started
        prompt, cached = (started.prompt_tokens, started.cached_tokens) if started else (0, 0)
        return Usage(prompt, cached, len(self.ids))

    @property
    def pending(self) -> bool:
        """Whether :meth:`take` would still give events or an error."""
        return bool(self._events) or self.error is not None

    def move(self, move: Move) -> None:
        """Raises :class:`IllegalMove` unless the table allows it."""
        try:
            self.state = TRANSITIONS[self.state, move]
        except KeyError:
            raise IllegalMove(f"{move.name} of ticket {self.id} in {self.state.name}") from None

    def generate(self) -> Generate:
        """The job as the worker sees it, continuing after the tokens an earlier attempt gave."""
        job = self.job
        return Generate(
            id=self.id,
            attempt=self.attempt,
            prompt=job.prompt,
            sampling=job.sampling,
            max_tokens=job.max_tokens,
            stop=list(job.stop),
            ignore_eos=job.ignore_eos,
            now=job.created,
            resume=list(self.ids),
            priority=job.priority,
        )

    def deliver(self, event: ClientEvent) -> None:
        """Put an event into the channel."""
        self._events.append(event)
        self._wake.set()

    def fail(self, error: ForgeError) -> None:
        """End the channel with an error, after the events already in it."""
        self.move(Move.FAIL)
        self.error = error
        self._wake.set()

    async def take(self, timeout: float | None = None) -> list[ClientEvent]:
        """Everything that came since the last call; waits until there is something.

        Returns [] when nothing came within ``timeout`` seconds. Raises the ticket's
        :class:`ForgeError` once the events before it have been taken.
        """
        if not self._events and self.error is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return []
        if not self._events and self.error is not None:
            raise self.error
        events = list(self._events)
        self._events.clear()
        return events
