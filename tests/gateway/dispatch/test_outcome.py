"""Ends of requests, in the words of metrics and logs."""

import pytest

from gateway.core import errors
from gateway.core.errors import ForgeError
from gateway.core.priority import CLASSES, PRIORITIES, class_of
from gateway.dispatch.outcome import OUTCOMES, Outcome, of_error, of_ticket
from gateway.dispatch.sequence import Move
from gateway.dispatch.ticket import Ticket
from tests.support.memory_pool import job, only


@pytest.mark.parametrize(
    ("error", "waiting", "started"),
    [
        (errors.QueueFull("x"), "rejected", "failed"),
        (errors.Displaced("x"), "rejected", "failed"),
        (errors.RateLimited("x", kind="tokens", retry_after=1), "rejected", "failed"),
        (errors.Unavailable("x"), "rejected", "failed"),
        (errors.DeadlineExceeded("x"), "expired", "expired"),
        (errors.ContextOverflow("x"), "invalid", "invalid"),
        (errors.InvalidConstraint("x"), "invalid", "invalid"),
        (errors.WorkerFailed("x"), "failed", "failed"),
        (errors.InternalError("x"), "failed", "failed"),
    ],
)
def test_errors(error: ForgeError, waiting: Outcome, started: Outcome) -> None:
    assert of_error(error, started=False) == waiting
    assert of_error(error, started=True) == started
    for began in (None, 5):
        ticket = Ticket(1, job(), arrived_ns=0)
        ticket.dispatched_ns = began
        only(ticket).move(Move.FAIL)
        ticket.fail(error)
        assert of_ticket(ticket) == (waiting if began is None else started)


def test_ends_without_an_error() -> None:
    for move, expected in ((Move.FINISH, "finished"), (Move.CANCEL, "cancelled")):
        ticket = Ticket(1, job(), arrived_ns=0)
        only(ticket).move(Move.DISPATCH)
        only(ticket).move(move)
        assert of_ticket(ticket) == expected
        assert expected in OUTCOMES


@pytest.mark.parametrize(
    ("priority", "name"),
    [(0, "batch"), (0.0, "batch"), (-0.0, "batch"), (1, "normal"), (2.0, "urgent")]
    + [(number, "other") for number in (-1, 0.5, 1.0000001, 3, 1e300)],
)
def test_classes(priority: float, name: str) -> None:
    assert class_of(priority) == name
    assert name in CLASSES
    assert len(CLASSES) == len(PRIORITIES) + 1
