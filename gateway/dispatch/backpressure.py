"""Readers that don't keep up: their generations pause; no memory and no slot waits for them.

A response that can't be written leaves its events in the ticket. When too many lie there, the
sequences that go on writing are parked: they give their slots to others, and wait outside the queue
while their workers keep what they computed. Once the client has read, they wait in the queue again,
in their old places.
"""

from collections.abc import Callable

from gateway.dispatch.sequence import Sequence
from gateway.dispatch.ticket import Ticket
from gateway.pool import Pool

UNREAD = 256
"""Events that a ticket may hold before its generations pause: some seconds of a fast stream."""
SHARING = 4
"""Number of sequences that share that; a ticket with more may hold more."""


class Backpressure:
    """Owns the sequences that pause."""

    def __init__(self, pool: Pool, requeue: Callable[[Sequence], None], unread: int) -> None:
        """``requeue`` lets a sequence wait in the queue again. ``unread``: see UNREAD."""
        self._pool = pool
        self._requeue = requeue
        self._unread = unread
        self._paused: dict[int, Sequence] = {}
        self._asked: set[int] = set()
        """Ids of running sequences that were asked to leave their slots."""

    def __len__(self) -> int:
        return len(self._paused)

    def paused(self) -> list[Sequence]:
        """The sequences that wait for their readers."""
        return list(self._paused.values())

    def _full(self, ticket: Ticket) -> bool:
        return ticket.unread > self._unread * max(1, len(ticket.sequences) / SHARING)

    def delivered(self, sequence: Sequence, ticket: Ticket) -> None:
        """Ask a running sequence of ``ticket`` to pause if its client does not read."""
        if self._full(ticket) and sequence.id not in self._asked:
            self._asked.add(sequence.id)
            self._pool.park(sequence.id)

    def parked(self, sequence: Sequence, ticket: Ticket) -> bool:
        """Return whether a sequence that left its slot pauses; else it waits in the queue."""
        self._asked.discard(sequence.id)
        if not self._full(ticket):
            return False
        self._paused[sequence.id] = sequence
        return True

    def leave(self, sequence: Sequence) -> None:
        """Forget a sequence that ended, or whose worker died."""
        self._asked.discard(sequence.id)
        self._paused.pop(sequence.id, None)

    def resume(self, ticket: Ticket) -> None:
        """Requeue a ticket's paused sequences: its client has read all events."""
        for sequence in ticket.sequences:
            if self._paused.pop(sequence.id, None) is not None:
                self._requeue(sequence)
