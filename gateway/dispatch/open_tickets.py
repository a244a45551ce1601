"""Requests that have not ended, and their ends: each is counted in once, and out once.

A request ends with the last of its sequences, or with the first that fails: half an answer is none.
Wherever its sequences are then (in the queue, in a slot, parked, paused), they are taken from
there, and every part that knows them forgets them.
"""

import asyncio
from collections.abc import Callable

from gateway.core.errors import ForgeError
from gateway.dispatch.deadlines import Deadlines
from gateway.dispatch.observer import Observer
from gateway.dispatch.sequence import Move, Sequence, State
from gateway.dispatch.slots import Slots
from gateway.dispatch.stats import Parts
from gateway.dispatch.ticket import Ticket


class OpenTickets:
    """Own the tickets that have not ended, and the timers of their limits."""

    def __init__(
        self,
        by_id: dict[int, Ticket],
        parts: Parts,
        slots: Slots,
        observer: Observer,
        *,
        queue_timeout: float | None,
        wake: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        """``by_id``: the tickets, empty now; others may read it, and only this one writes it.

        ``queue_timeout``: see :class:`Deadlines`. ``wake`` lets the dispatcher look at its slots;
        ``changed`` is called when there is more or less to do.
        """
        self._by_id = by_id
        self._parts = parts
        self._slots = slots
        self._observer = observer
        self._wake = wake
        self._changed = changed
        self.deadlines = Deadlines(queue_timeout, self.abort)
        self._ordinary = 0
        """Number of tickets that are not spare."""
        self.none = asyncio.Event()
        """Set while there is no ticket."""
        self.none.set()

    # ------------------------------------------------------------------ counted in and out

    def add(self, ticket: Ticket) -> None:
        """Count a ticket that came."""
        if not ticket.job.spare:
            self.count_ordinary()
        self._by_id[ticket.id] = ticket
        self.none.clear()

    def count_ordinary(self) -> None:
        """Count a ticket that is not spare: such work is what the service rate is about."""
        self._ordinary += 1
        self._parts.rate.resume(self._parts.clock_ns())

    def remove(self, ticket: Ticket, now_ns: int) -> None:
        """Count a ticket less, because it ended or is another dispatcher's now."""
        del self._by_id[ticket.id]
        if not ticket.job.spare:
            self._ordinary -= 1
            if not self._ordinary:
                self._parts.rate.pause(now_ns)
        if not self._by_id:
            self.none.set()
        elif len(self._parts.queue.spare):
            self._wake()  # they may have waited for this one to leave the queue
        self._changed()

    # ------------------------------------------------------------------ ends of tickets

    def end(self, ticket: Ticket) -> None:
        """End a ticket whose sequences all have ended."""
        self.deadlines.stop(ticket)
        ticket.ended_ns = self._parts.clock_ns()
        self._observer.on_end(ticket)
        ticket.when_read(None)
        self.remove(ticket, ticket.ended_ns)

    def abort(self, ticket: Ticket, error: ForgeError) -> None:
        """End a ticket, wherever its sequences are, with an error for its client."""
        self._withdraw(ticket, Move.FAIL)
        ticket.fail(error)
        self.end(ticket)

    def cancel(self, ticket: Ticket) -> None:
        """End a ticket whose client is gone."""
        self._withdraw(ticket, Move.CANCEL)
        self.end(ticket)

    def _withdraw(self, ticket: Ticket, move: Move) -> None:
        """Take the sequences that did not end from the queue or from their workers."""
        for sequence in ticket.sequences:
            if sequence.ended:
                continue
            if sequence.state is State.WAITING:
                self._parts.queue.of(sequence).leave(sequence)
            if not sequence.fresh:
                self._parts.pool.cancel(sequence.id)
            sequence.move(move)
            self._forget(sequence, ticket)

    # ------------------------------------------------------------------ ends of sequences

    def finish(self, sequence: Sequence) -> None:
        """End a sequence whose worker has finished it, and its ticket if it was the last."""
        ticket = self._by_id[sequence.ticket_id]
        sequence.move(Move.FINISH)
        self._forget(sequence, ticket)
        if not ticket.open:
            self.end(ticket)

    def fail(self, sequence: Sequence, error: ForgeError) -> None:
        """End a sequence that can't go on, and its ticket with it."""
        ticket = self._by_id[sequence.ticket_id]
        sequence.move(Move.FAIL)
        self._forget(sequence, ticket)
        self.abort(ticket, error)

    def _forget(self, sequence: Sequence, ticket: Ticket) -> None:
        """Let every part forget a sequence that has ended, in whatever way."""
        self._slots.running.pop(sequence.id, None)
        self._parts.quarantine.ended(sequence)
        self._parts.backpressure.leave(sequence)
        queue = self._parts.queue.of(sequence)
        if not sequence.fresh:
            queue.settle(sequence)
        ticket.open -= 1
        queue.forget(sequence)
        now_ns = self._parts.clock_ns()
        sequence.note("ended", now_ns)
        self._slots.unpark(sequence, now_ns)
