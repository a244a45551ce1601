"""The life of one request: its sequences, and the channel through which their events reach it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from functools import reduce
from typing import Any, Protocol

from gateway.core.clock import NANO
from gateway.core.errors import ForgeError
from gateway.core.usage import DraftCounts, Usage
from gateway.dispatch.job import Job
from gateway.dispatch.sequence import Sequence, State
from workers.protocol import Delta, Finished, Started

ClientEvent = Started | Delta | Finished

Meter = Callable[[int, int | None], None]
"""Told how many tokens a sequence just got, and how many nanoseconds after those before, if any."""


class TicketHome(Protocol):
    """The dispatcher that has a ticket in its books."""

    def cancel(self, ticket: Ticket) -> None:
        """End a ticket whose client is gone."""
        ...

    def promote(self, ticket: Ticket, priority: float) -> None:
        """Make a spare ticket an ordinary one."""
        ...


def new_name() -> str:
    """Return a name that no other request has, and that no client can predict.

    A stored response is found by it. Of a generator that is no secret a few hundred names tell all
    that follow.
    """
    return os.urandom(12).hex()


def request_name(state: dict[str, Any]) -> str:
    """Return the name of a request, of which ``state`` may hold the ticket; it is made once."""
    ticket: Ticket | None = state.get("ticket")
    if ticket is not None:
        return ticket.request_id
    name: str = state.setdefault("name", new_name())
    return name


class Ticket:
    """One request between submit and its end. Written by the dispatcher, read by one client.

    Its sequences have consecutive ids from ``id`` on: the n completions of the first prompt, then
    those of the second, and so on, which are the indices of the choices in the answer.
    """

    def __init__(self, id_: int, job: Job, arrived_ns: int, meter: Meter | None = None) -> None:
        # For the ticket's life.
        self.id = id_
        self.request_id = job.request_id or new_name()
        """The name that clients see."""
        self.job = job
        self.arrived_ns = arrived_ns
        self.meter = meter
        self.sequences = [Sequence(id_, index, job, arrived_ns) for index in range(job.choices)]
        self.open = len(self.sequences)
        """Sequences that did not end."""
        # What came so far.
        self.dispatched_ns: int | None = None
        self.first_token_ns: int | None = None
        self.ended_ns: int | None = None
        self.error: ForgeError | None = None
        self.home: TicketHome | None = None
        """The dispatcher that has it, which changes when its model's workers are replaced."""
        # The channel.
        self._on_read: Callable[[Ticket], None] | None = None
        """Called once, when the client next takes what there is."""
        self._events: deque[ClientEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        """The client waits for something to come."""
        self._enough = 1
        """Number of events that are worth waking it, before the end."""

    @property
    def state(self) -> State:
        """Running while any sequence runs; the end is that of all of them."""
        states = {sequence.state for sequence in self.sequences}
        unhappy = (State.FAILED, State.CANCELLED, State.RUNNING, State.PAUSED, State.WAITING)
        return next((state for state in unhappy if state in states), State.FINISHED)

    @property
    def ended(self) -> bool:
        return self.ended_ns is not None

    @property
    def completion_tokens(self) -> int:
        """Tokens sampled so far, in all sequences."""
        return sum(len(sequence.ids) for sequence in self.sequences)

    @property
    def later_tokens(self) -> int:
        """Tokens that steps of their own brought: those that come with the prompt are no measure
        of a generation's speed."""
        return sum(len(sequence.ids) - sequence.first_ids for sequence in self.sequences)

    @property
    def tokens_per_second(self) -> float | None:
        """From the first token to the end, pauses included; None if no other came later."""
        first, ended, tokens = self.first_token_ns, self.ended_ns, self.later_tokens
        if first is None or ended is None or ended <= first or not tokens:
            return None
        return tokens * NANO / (ended - first)

    @property
    def usage(self) -> Usage:
        """Tokens so far; a prompt counts once, however many completions it has.

        Of its tokens those were cached that none of its completions had to compute.
        """
        if len(self.sequences) == 1:
            (sequence,) = self.sequences
            start, predicted = sequence.started, sequence.predicted if self._predicts else None
            prompt, cached = (0, 0) if start is None else (start.prompt_tokens, start.cached_tokens)
            return Usage(prompt, cached, len(sequence.ids), sequence.drafts, predicted)
        prompt = cached = 0
        for first in range(0, len(self.sequences), self.job.n):
            choices = self.sequences[first : first + self.job.n]
            started = [s.started for s in choices if s.started is not None]
            if started:
                prompt += started[0].prompt_tokens
                cached += min(start.cached_tokens for start in started)
        drafts = reduce(DraftCounts.plus, (s.drafts for s in self.sequences))
        predicted = reduce(DraftCounts.plus, (s.predicted for s in self.sequences))
        return Usage(
            prompt, cached, self.completion_tokens, drafts, predicted if self._predicts else None
        )

    @property
    def tokens(self) -> int:
        """Tokens of prompts and answers so far, as :attr:`usage` has them, for little CPU."""
        if len(self.sequences) == 1:
            (sequence,) = self.sequences
            start = sequence.started
            return len(sequence.ids) + (0 if start is None else start.prompt_tokens)
        usage = self.usage
        return usage.prompt + usage.completion

    @property
    def _predicts(self) -> bool:
        return bool(self.job.params.prediction)

    @property
    def pending(self) -> bool:
        """Return whether :meth:`take` would still give events or an error."""
        return bool(self._events) or self.error is not None

    @property
    def unread(self) -> int:
        """Events that the client has not taken yet."""
        return len(self._events)

    def index(self, event: ClientEvent) -> int:
        """Return the index of the choice that an event belongs to."""
        return event.id - self.id

    def prompt_index(self, sequence: Sequence) -> int | None:
        """Return the number of a sequence's prompt, if there are several."""
        return sequence.index // self.job.n if len(self.job.prompts) > 1 else None

    def count(self, sequence: Sequence, event: Delta | Finished, now_ns: int) -> None:
        """Add the tokens that an event brings to one of the sequences."""
        before_ns = sequence.last_token_ns
        sequence.count(event, now_ns)
        if not event.ids:
            return
        if self.first_token_ns is None:
            self.first_token_ns = now_ns
        if self.meter is not None:
            self.meter(len(event.ids), None if before_ns is None else now_ns - before_ns)

    def deliver(self, event: ClientEvent) -> None:
        """Put an event into the channel."""
        self._events.append(event)
        if len(self._events) >= self._enough or isinstance(event, Finished):
            self._wake()

    def fail(self, error: ForgeError) -> None:
        """End the channel with an error, after the events already in it."""
        self.error = error
        self._wake()

    def when_read(self, call: Callable[[Ticket], None] | None) -> None:
        """Call it once, when the client next takes what there is, which it is woken to do."""
        self._on_read = call
        if call is not None:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, timeout: float | None = None, *, enough: int = 1) -> list[ClientEvent]:
        """Everything that came since the last call; waits until there is something.

        ``enough``: a reader that shows nothing before the end is woken for so many events, or for
        an end. Returns [] when nothing came within ``timeout`` seconds. Raises the ticket's
        :class:`ForgeError` once the events before it have been taken.
        """
        if not self.pending:
            self._enough = enough
            await self._wait(timeout)
        if not self._events:
            if self.error is not None:
                raise self.error
            return []
        events = list(self._events)
        self._events.clear()
        if self._on_read is not None:
            on_read, self._on_read = self._on_read, None
            on_read(self)
        return events

    async def _wait(self, timeout: float | None) -> None:
        """Wait until something comes, or the time is over: once for each token of a fast stream.

        So no ``asyncio.timeout``, which costs as much as all else that is done for a token.
        """
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
