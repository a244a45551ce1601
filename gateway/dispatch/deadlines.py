"""The end of a request's time: timers, and the error that its client gets."""

import asyncio
from collections.abc import Callable

from gateway.core.errors import DeadlineExceeded, ForgeError
from gateway.dispatch.ticket import Ticket


class Deadlines:
    """Own a timer for each open ticket that has a limit."""

    def __init__(
        self, queue_timeout: float | None, abort: Callable[[Ticket, ForgeError], None]
    ) -> None:
        """``queue_timeout``: seconds to wait for a first start at most, by the operator's will."""
        self._queue_timeout = queue_timeout
        self._abort = abort
        self._timers: dict[int, asyncio.TimerHandle] = {}
        """By the ids of the tickets."""

    def set(self, ticket: Ticket, waited_s: float = 0.0) -> None:
        """The request's own limit covers everything, the operator's only the wait for a start.

        A spare request may wait for ever, unless it says otherwise itself. ``waited_s``: time that
        is over already.
        """
        if ticket.job.timeout is not None:
            limit, then = ticket.job.timeout, self.expire
        elif self._queue_timeout is not None and not ticket.job.spare:
            limit, then = self._queue_timeout, self.expire_waiting
        else:
            return
        rest = max(0.0, limit - waited_s)
        self._timers[ticket.id] = asyncio.get_running_loop().call_later(rest, then, ticket)

    def stop(self, ticket: Ticket) -> None:
        """Forget the timer of a ticket that has ended, if it had one."""
        timer = self._timers.pop(ticket.id, None)
        if timer is not None:
            timer.cancel()

    def expire(self, ticket: Ticket) -> None:
        """The request's time is over, whatever it is doing."""
        if not ticket.ended:
            where = "in the queue" if ticket.dispatched_ns is None else "while it was generated"
            message = f"the request's time ran out {where}"
            self._abort(ticket, DeadlineExceeded(message, usage=ticket.usage))

    def expire_waiting(self, ticket: Ticket) -> None:
        """The longest wait that the operator allows is over; nothing to a job that was started."""
        if not ticket.ended and ticket.dispatched_ns is None:
            self._abort(ticket, DeadlineExceeded("no worker was free in time"))
