"""A request's stays in slots, one after the other: which worker had it, and why it left.

An example: worker 0 had it for 1.2 s and died; worker 1 went on and finished it. Two attempts, the
first of which ended as *lost*, and one failover.
"""

from collections.abc import Iterator
from typing import Any

from gateway.core.clock import NANO
from gateway.dispatch.sequence import Sequence
from gateway.dispatch.ticket import Ticket

MOST = 32
"""Attempts that are told: a request may have thousands of inputs, each with its own."""


def told_attempts(ticket: Ticket) -> dict[str, Any]:
    """Return the attempts of a request that was followed, and how often another worker went on."""
    if not ticket.job.followed:
        return {}
    found = [each for sequence in ticket.sequences for each in _of(sequence, ticket.arrived_ns)]
    dropped = any(each.course is not None and each.course.dropped for each in ticket.sequences)
    return {
        "attempts": [each for each, _ in found[:MOST]],
        "more_attempts": len(found) > MOST or dropped,
        "failovers": sum(failed_over for _, failed_over in found),
    }


def _of(sequence: Sequence, arrived_ns: int) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the attempts of a sequence, each with True if the worker before it had died."""
    moments = () if sequence.course is None else sequence.course.moments
    lost, number = False, 0
    for at, moment in enumerate(moments):
        if moment.what != "dispatched":
            lost = moment.what == "lost"
            continue
        number += 1
        left = moments[at + 1] if at + 1 < len(moments) else None
        attempt = {
            "choice": sequence.index,
            "number": number,
            "worker": moment.worker,
            "node": moment.node,
            "began_s": round((moment.at_ns - arrived_ns) / NANO, 6),
            "seconds": None if left is None else round((left.at_ns - moment.at_ns) / NANO, 6),
            "end": None if left is None else left.what,
        }
        yield attempt, lost
        lost = False
