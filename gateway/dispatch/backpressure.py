"""Readers that don't keep up: their generations pause; no memory and no slot waits for them.

A response that can't be written leaves its events in the ticket. When too many lie there, the
sequences that go on writing are parked: they keep their cells, give their slots to others, and wait
outside the queue. Once the client has read, they wait in the queue again, in their old places.
"""

from collections.abc import Callable

from gateway.dispatch.sequence import Move, Sequence
from gateway.dispatch.ticket import Ticket
from gateway.pool import Pool

UNREAD = 256
"""Events that a ticket may hold before its generations pause: some seconds of a fast stream."""
SHARING = 4
"""As many sequences share that; a ticket with more may hold more."""


class Backpressure:
    """Owns the sequences that pause."""

    def __init__(self, pool: Pool, requeue: Callable[[Sequence], None], unread: int) -> None:
        """``requeue`` lets a sequence wait in the queue again. ``unread``: see UNREAD."""
        self._pool = pool
        self._requeue = requeue
        self._unread = unread
        self._paused: dict[int, Sequence] = {}

    def __len__(self) -> int:
        return len(self._paused)

    def paused(self) -> list[Sequence]:
        """The sequences that wait for their readers."""
        return list(self._paused.values())

    def _full(self, ticket: Ticket) -> bool:
        return ticket.unread > self._unread * max(1, len(ticket.sequences) / SHARING)

    def delivered(self, sequence: Sequence) -> None:
        """A running sequence has given more: ask it to pause if nobody reads."""
        if not sequence.pausing and self._full(sequence.ticket):
            sequence.pausing = True
            self._pool.park(sequence.id)

    def parked(self, sequence: Sequence) -> bool:
        """It left its slot, for whatever reason; whether it pauses, or waits like others."""
        if not self._full(sequence.ticket):
            return False
        sequence.move(Move.PAUSE)
        self._paused[sequence.id] = sequence
        sequence.ticket.on_read = self._resume
        return True

    def leave(self, sequence: Sequence) -> None:
        """It ended."""
        self._paused.pop(sequence.id, None)

    def _resume(self, ticket: Ticket) -> None:
        """The client has read what there was."""
        for sequence in ticket.sequences:
            if self._paused.pop(sequence.id, None) is not None:
                self._requeue(sequence)
