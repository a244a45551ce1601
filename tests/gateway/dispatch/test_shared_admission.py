"""Several queues, one bound: who makes way is the last of all."""

from gateway.core.clock import NANO
from gateway.core.errors import Displaced, QueueFull
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.shared_admission import SharedAdmission
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from tests.support.memory_pool import Clock, Ends, MemoryPool, job


class House:
    """Two dispatchers whose pools have no slot."""

    def __init__(self, bounds: Bounds) -> None:
        self.clock = Clock()
        shared = SharedAdmission(bounds)
        self.one, self.other = (
            Dispatcher(MemoryPool(0), 0.2, self.clock, Ends(), shared_admission=shared)
            for _ in range(2)
        )


def test_bounds_hold_for_all_together() -> None:
    house = House(Bounds(requests=2, size=100))
    house.one.submit(job(size=60))
    shared = house.one._shared_admission
    assert not shared.full(40)
    assert shared.full(41), "too many bytes"
    house.other.submit(job(size=10))
    assert shared.full(0), "too many requests"
    assert shared._over(90, 1, 60) is False
    assert shared._over(91, 1, 60) is True


def test_numbers_are_given_once() -> None:
    house = House(Bounds(10, 100))
    tickets = [house.one.submit(job(n=2)), house.other.submit(job()), house.one.submit(job())]
    assert [ticket.id for ticket in tickets] == [1, 3, 4]
    assert (house.one.stats.accepted, house.other.stats.accepted) == (3, 1)


def test_the_last_of_all_makes_way() -> None:
    house = House(Bounds(requests=3, size=100))
    first = house.one.submit(job(1.0))
    house.clock.now += NANO
    second = house.other.submit(job(0.0))
    third = house.one.submit(job(1.0))
    urgent = house.other.submit(job(2.0))
    assert gone(second)
    again = house.other.submit(job(2.0))
    assert gone(third), "of the other queue"
    assert not any(map(gone, (first, urgent, again)))
    refused = False
    try:
        house.one.submit(job(0.0))
    except QueueFull:
        refused = True
    assert refused


def gone(ticket: Ticket) -> bool:
    return isinstance(ticket.error, Displaced)


def test_what_one_queue_holds_is_no_leftover_of_the_other() -> None:
    house = House(Bounds(requests=3, size=100))
    house.one.submit(job())
    assert house.other.stats.leaks() == []
    assert house.other.stats.first_key() is None
    assert house.one.stats.first_key() == house.one.stats.key(1.0)
