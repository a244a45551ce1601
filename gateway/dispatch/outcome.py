"""The end of a request, in the few words that metrics and logs have for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from gateway.core.errors import (
    BadRequest,
    BudgetUsedUp,
    DeadlineExceeded,
    ForgeError,
    QueueFull,
    RateLimited,
    Unavailable,
)
from gateway.dispatch.sequence import State

if TYPE_CHECKING:
    from gateway.dispatch.ticket import Ticket

Outcome = Literal["finished", "failed", "cancelled", "expired", "rejected", "invalid"]
"""*failed*: by no fault of its own. *cancelled*: its client hung up. *expired*: its time was over.
*rejected*: there was no room for it, its key had no more to spend, or nothing could be served;
nothing was computed. *invalid*: what it asks for can't be done."""
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def of_error(error: ForgeError, *, started: bool) -> Outcome:
    """The outcome of a request that ends with an error; ``started``: it ever had a slot."""
    if isinstance(error, DeadlineExceeded):
        return "expired"
    if isinstance(error, BadRequest):
        return "invalid"
    if isinstance(error, BudgetUsedUp | QueueFull | RateLimited | Unavailable) and not started:
        return "rejected"
    return "failed"


def of_ticket(ticket: Ticket) -> Outcome:
    """Return the outcome of a ticket that has ended."""
    state = ticket.state
    if state is State.FINISHED:
        return "finished"
    if state is State.CANCELLED:
        return "cancelled"
    assert ticket.error is not None, "only an error ends a ticket otherwise"
    return of_error(ticket.error, started=ticket.dispatched_ns is not None)
