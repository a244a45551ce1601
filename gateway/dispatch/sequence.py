"""One generation of a request: what the heap orders, a worker computes and a park interrupts.

A request with one prompt and n = 1 is one sequence. The transition table below is the whole truth
about what may follow what: a sequence ends exactly once, and an illegal move raises.
"""

import math
from enum import Enum, auto

from msgspec.structs import replace

from gateway.core.trace import Trace
from gateway.core.usage import NO_DRAFTS, DraftCounts
from gateway.dispatch.course import Course, What
from gateway.dispatch.job import Job
from workers.protocol import (
    Delta,
    Drafts,
    Finished,
    Generate,
    GenerationParams,
    Sampling,
    Started,
    TraceParent,
)


class State(Enum):
    __hash__ = object.__hash__  # Enum's is no built-in, and each token asks whether that is the end

    WAITING = auto()
    RUNNING = auto()
    PAUSED = auto()
    FINISHED = auto()
    FAILED = auto()
    CANCELLED = auto()


ENDED = frozenset({State.FINISHED, State.FAILED, State.CANCELLED})


class Move(Enum):
    __hash__ = object.__hash__  # as above

    DISPATCH = auto()
    REQUEUE = auto()
    PAUSE = auto()
    FINISH = auto()
    FAIL = auto()
    CANCEL = auto()


TRANSITIONS: dict[tuple[State, Move], State] = {
    (State.WAITING, Move.DISPATCH): State.RUNNING,
    (State.WAITING, Move.FAIL): State.FAILED,
    (State.WAITING, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.REQUEUE): State.WAITING,
    (State.RUNNING, Move.PAUSE): State.PAUSED,
    (State.PAUSED, Move.REQUEUE): State.WAITING,
    (State.PAUSED, Move.FAIL): State.FAILED,
    (State.PAUSED, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.FINISH): State.FINISHED,
    (State.RUNNING, Move.FAIL): State.FAILED,
    (State.RUNNING, Move.CANCEL): State.CANCELLED,
}


class IllegalMove(Exception):
    """The dispatcher tried something that a sequence in this state can't do: a bug."""


class Sequence:
    """Written by the dispatcher alone; what others know of it they keep by its id.

    Its ticket knows it, and it does not know its ticket: without a cycle, a prompt is freed as soon
    as its request has ended.
    """

    def __init__(self, ticket_id: int, index: int, job: Job, arrived_ns: int) -> None:
        # For the sequence's life.
        self.id = ticket_id + index
        self.ticket_id = ticket_id
        self.index = index
        """Number of the choice in the answer."""
        self.job = job
        """The request's, shared by all of its sequences."""
        self.arrived_ns = arrived_ns
        # Per attempt on a worker.
        self.state = State.WAITING
        self.attempt = 0
        self._first_attempt = 0
        """The last attempt before it began anew."""
        self.slot_since_ns = 0
        self.parked_since_ns: int | None = None
        self.parked_ns = 0
        """Time that it was parked, in total, without a park that goes on."""
        self.course = Course() if job.followed else None
        """Its moments, where they become spans or are captured."""
        # What came so far.
        self.began_ns: int | None = None
        """Time of its first slot."""
        self.first_token_ns: int | None = None
        self.ids: list[int] = []
        self.first_ids = 0
        """Number that came with the first of them: they took no time after the prompt's."""
        self.last_token_ns: int | None = None
        """Time of the last of them."""
        self.echoed = False
        """True if the client was given the prompt's text, if it asked for that."""
        self.started: Started | None = None
        self.reason: str | None = None
        """The reason of its end, if it finished."""
        self.told = False
        """True if the client was told of a start."""
        self.drafts = NO_DRAFTS
        self.predicted = NO_DRAFTS
        """Drafts that were of the request's prediction."""

    @property
    def priority(self) -> float:
        """The base priority."""
        return self.job.priority

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def fresh(self) -> bool:
        """Return whether no worker ever had it, or none since it began anew."""
        return self.attempt == self._first_attempt

    def begin_anew(self) -> None:
        """Forget what workers told of it, which was no token: others will compute all of it.

        Attempts are counted on, so that no late frame is taken for one of theirs.
        """
        assert not self.ids, "an answer is of one model"
        self._first_attempt = self.attempt
        self.began_ns = None
        self.started = None

    def move(self, move: Move) -> None:
        """Raises :class:`IllegalMove` unless the table allows it."""
        try:
            self.state = TRANSITIONS[self.state, move]
        except KeyError:
            message = f"{move.name} of sequence {self.id} in {self.state.name}"
            raise IllegalMove(message) from None

    def note(self, what: What, now_ns: int) -> None:
        """Keep what happened, if that is told later."""
        if self.course is not None:
            self.course.note(what, now_ns)

    def count(self, event: Delta | Finished, now_ns: int) -> None:
        """Add the tokens that an event brings."""
        self.echoed |= event.extra is not None and event.extra.echo
        if event.drafts is not None:
            self.count_drafts(event.drafts)
        if event.ids:
            if self.first_token_ns is None:
                self.first_ids, self.first_token_ns = len(event.ids), now_ns
            self.ids.extend(event.ids)
            self.last_token_ns = now_ns

    def count_drafts(self, drafts: Drafts) -> None:
        """Add what a step computed ahead."""
        counts = DraftCounts(1, drafts.drafted, drafts.accepted)
        self.drafts = self.drafts.plus(counts)
        if drafts.predicted:
            self.predicted = self.predicted.plus(counts)

    def generate(self, rank: float, now_ns: int) -> Generate:
        """The work as a worker sees it, continuing after the tokens an earlier attempt gave.

        ``rank``: its place in the queue, see :meth:`gateway.dispatch.queue.Queue.rank`. A spare one
        is behind all others there, too: when cells are short, and in the order of prompts.
        """
        job = self.job
        return Generate(
            id=self.id,
            attempt=self.attempt,
            prompt=job.prompts[self.index // job.n],
            params=self._params(job.params),
            now=job.created,
            resume=list(self.ids),
            priority=-math.inf if job.spare else job.priority,
            rank=math.inf if job.spare else rank,
            cache_scope=job.cache_scope,
            spent_ms=self._spent_ms(now_ns),
            trace=None if self.course is None else _trace_parent(job.trace),
        )

    def _spent_ms(self, now_ns: int) -> float:
        """The time since the first token, where a line's end after some time ends the answer."""
        if self.first_token_ns is None or not self.job.params.line_limit_ms:
            return 0.0
        return (now_ns - self.first_token_ns) / 1e6

    def _params(self, params: GenerationParams) -> GenerationParams:
        """The request's own, without a copy, unless this sequence differs from it."""
        if self.index:
            params = replace(params, sampling=_varied(params.sampling, self.index))
        if self.echoed:
            params = replace(params, echo=False)
        return params


def _trace_parent(trace: Trace | None) -> TraceParent | None:
    """Return what a worker is told of a trace whose spans are kept."""
    if trace is None or not trace.sampled:
        return None
    return TraceParent(trace.traceparent, trace.state)


def _varied(sampling: Sampling, index: int) -> Sampling:
    """The sampling of a further choice: each has the next seed, or all would be the same."""
    seed = (sampling.seed + index + 2**63) % 2**64 - 2**63
    return replace(sampling, seed=seed)
