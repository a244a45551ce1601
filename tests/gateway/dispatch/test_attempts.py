"""The workers that had a request, as its capture tells them."""

from typing import Any

import pytest

from gateway.core.clock import NANO
from gateway.core.trace import Trace
from gateway.dispatch.attempts import MOST, told_attempts
from gateway.dispatch.course import MOST_MOMENTS
from gateway.dispatch.ticket import Ticket
from tests.support.memory_pool import job


def followed(**changes: Any) -> Ticket:
    return Ticket(5, job(captured=True, **changes), 2 * NANO)


def test_one_worker_had_it_from_slot_to_end() -> None:
    ticket = followed()
    course = ticket.sequences[0].course
    assert course is not None
    course.note("dispatched", 3 * NANO, 4, "node-a")
    course.note("ended", 5 * NANO)
    assert told_attempts(ticket) == {
        "attempts": [
            {
                "choice": 0,
                "number": 1,
                "worker": 4,
                "node": "node-a",
                "began_s": 1.0,
                "seconds": 2.0,
                "end": "ended",
            }
        ],
        "more_attempts": False,
        "failovers": 0,
    }


def test_a_death_is_a_failover_if_another_goes_on() -> None:
    ticket = followed(n=2)
    for sequence in ticket.sequences:
        assert sequence.course is not None
        sequence.course.note("dispatched", 3 * NANO, 0)
        sequence.course.note("lost", 4 * NANO)
    one, two = (each.course for each in ticket.sequences)
    assert one is not None
    assert two is not None
    one.note("dispatched", 5 * NANO, 1)
    one.note("preempted", 6 * NANO)
    one.note("dispatched", 7 * NANO, 2)
    two.note("ended", 5 * NANO)
    told = told_attempts(ticket)
    assert [(a["choice"], a["number"], a["worker"], a["end"]) for a in told["attempts"]] == [
        (0, 1, 0, "lost"),
        (0, 2, 1, "preempted"),
        (0, 3, 2, None),
        (1, 1, 0, "lost"),
    ]
    assert told["failovers"] == 1


@pytest.mark.parametrize("stays", [MOST, MOST + 1, 5 * MOST_MOMENTS])
def test_not_all_of_many_are_told(stays: int) -> None:
    ticket = followed()
    course = ticket.sequences[0].course
    assert course is not None
    for _ in range(stays):
        course.note("dispatched", 3 * NANO, 0)
        course.note("parked", 4 * NANO)
    course.note("ended", 5 * NANO)
    told = told_attempts(ticket)
    assert len(told["attempts"]) == MOST
    assert told["more_attempts"] is (stays > MOST)


def test_of_a_request_that_is_not_followed_nothing_is_noted() -> None:
    ticket = Ticket(5, job(), 0)
    assert told_attempts(ticket) == {}
    assert ticket.sequences[0].course is None


def test_a_captured_request_is_no_trace_for_its_worker() -> None:
    for trace in (None, Trace("a" * 32, "b" * 16)):
        (sequence,) = followed(trace=trace).sequences
        assert sequence.course is not None
        assert sequence.generate(0.0, 0).trace is None
