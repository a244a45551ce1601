"""Requests that go from one dispatcher to another, because their model's workers are replaced.

An answer is of one model: a request goes as long as none of its tokens was sent and none of its
sequences has a slot, and else stays. What an earlier worker computed for it is given up, and it
begins anew, with the arrival, the key and the limit of time that it had.

An example: A runs, B was parked after 5 tokens, C was parked within its prompt, and D waits. C and
D go, and are served by the new workers in the order in which they came; the old ones finish A, and
then B, in the slot that A leaves.
"""

from gateway.core.clock import NANO
from gateway.dispatch.deadlines import Deadlines
from gateway.dispatch.sequence import State
from gateway.dispatch.slots import Slots
from gateway.dispatch.stats import Parts
from gateway.dispatch.ticket import Ticket


def movable(ticket: Ticket) -> bool:
    """Return whether a request may begin anew elsewhere: nothing is computed, and nothing said."""
    return all(
        sequence.state is State.WAITING and not sequence.ids and not sequence.echoed
        for sequence in ticket.sequences
    )


class Handover:
    """One dispatcher's side: requests go out of its books, or come in."""

    def __init__(self, parts: Parts, slots: Slots, deadlines: Deadlines) -> None:
        self._parts = parts
        self._slots = slots
        self._deadlines = deadlines

    def movable(self) -> list[Ticket]:
        """Return the requests that may go, in the order in which they came."""
        found = [ticket for ticket in self._parts.tickets.values() if movable(ticket)]
        return sorted(found, key=lambda ticket: ticket.id)

    def out(self, ticket: Ticket) -> None:
        """Take a request out of the queue; its sequences are as if no worker had had them."""
        parts, now_ns = self._parts, self._parts.clock_ns()
        self._deadlines.stop(ticket)
        for sequence in ticket.sequences:
            queue = parts.queue.of(sequence)
            queue.leave(sequence)
            if not sequence.fresh:
                parts.pool.cancel(sequence.id)
                queue.settle(sequence)
            parts.quarantine.ended(sequence)
            queue.forget(sequence)
            self._slots.unpark(sequence, now_ns)
            sequence.begin_anew()

    def into(self, ticket: Ticket) -> None:
        """Let a request wait here; one that had a slot is not displaced for others."""
        first = ticket.sequences[0]
        started = ticket.dispatched_ns is not None
        self._parts.queue.of(first).enter(ticket.sequences, started=started)
        waited_ns = self._parts.clock_ns() - ticket.arrived_ns
        self._deadlines.set(ticket, waited_ns / NANO)
