"""The queue: ageing between classes, turns between owners, and who makes way when it is full."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.clock import NANO
from gateway.core.errors import Displaced
from gateway.dispatch.job import Job
from gateway.dispatch.queue import Queue
from gateway.dispatch.sequence import Move, Sequence
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from tests.support.memory_pool import job

RATE = 0.2


class Desk:
    """A queue, and somebody who numbers tickets and starts what it gives."""

    def __init__(self, bounds: Bounds = UNBOUNDED) -> None:
        shared = SharedAdmission(bounds)
        self.queue = Queue(RATE, shared)
        shared.join(self.queue, lambda id_, error: self.end(self.tickets[id_]))
        self.shared = shared
        self.tickets: dict[int, Ticket] = {}
        self.next_id = 1
        self.now = 0

    def arrive(self, priority: float = 1.0, **fields: Any) -> Ticket:
        ticket = Ticket(self.next_id, job(priority, **fields), self.now)
        self.next_id += len(ticket.sequences)
        self.tickets[ticket.id] = ticket
        self.queue.enter(ticket.sequences)
        return ticket

    def ticket(self, sequence: Sequence) -> Ticket:
        return self.tickets[sequence.ticket_id]

    def serve(self) -> Sequence:
        sequence = self.queue.next(self.now)
        sequence.move(Move.DISPATCH)
        sequence.attempt += 1
        return sequence

    def make_way(self, newcomer: Job) -> list[Ticket] | None:
        """Return the tickets that went, so that it may wait; None if it can't, whichever go."""
        if not self.queue.can_displace(newcomer, self.now):
            return None
        error = Displaced("the queue is full", retry_after=1)
        return [self.tickets[id_] for id_ in self.shared.displace(newcomer.size, error)]

    def end(self, ticket: Ticket) -> None:
        for sequence in ticket.sequences:
            self.queue.leave(sequence)
            self.queue.forget(sequence)

    def serve_all(self) -> list[Sequence]:
        return [self.serve() for _ in range(len(self.queue))]


def test_one_owners_thousand_do_not_bury_anothers_single_one() -> None:
    desk = Desk()
    flood = [desk.arrive(owner="flood") for _ in range(1000)]
    desk.now = NANO
    single = desk.arrive(owner="other")
    served = [desk.ticket(sequence) for sequence in desk.serve_all()]
    assert served.index(single) == 1
    assert [ticket for ticket in served if ticket is not single] == flood


def test_choices_count_one_by_one() -> None:
    """A request with n = 8 is eight turns, not one."""
    desk = Desk()
    desk.arrive(owner="many", n=8)
    for _ in range(3):
        desk.arrive(owner="other")
    served = [sequence.job.owner for sequence in desk.serve_all()]
    assert served[:6] == ["many", "other"] * 3
    assert served[6:] == ["many"] * 5


def test_fairness_does_not_bury_an_owners_own_urgent_job() -> None:
    desk = Desk()
    for _ in range(50):
        desk.arrive(1.0, owner="busy")
    desk.arrive(1.0, owner="other")
    urgent = desk.arrive(2.0, owner="busy")
    assert desk.ticket(desk.serve()) is urgent


def test_who_was_started_takes_no_turn() -> None:
    desk = Desk()
    lost = desk.arrive(owner="a")
    sequence = desk.serve()
    for owner in "ab":
        desk.arrive(owner=owner)
    sequence.move(Move.REQUEUE)
    desk.queue.back(sequence)
    assert desk.serve() is sequence
    assert lost.sequences == [sequence]


def test_overdue_goes_first() -> None:
    desk = Desk()
    parked = desk.arrive(0.0)
    sequence = desk.serve()
    desk.arrive(2.0)
    sequence.move(Move.REQUEUE)
    desk.queue.back(sequence, overdue_ns=3 * NANO)
    desk.now = 3 * NANO - 1
    assert next(desk.queue.order(desk.now))[1].priority == 2.0
    desk.now += 1
    assert next(desk.queue.order(desk.now))[1] is sequence
    assert desk.ticket(desk.serve()) is parked


def test_the_most_urgent_is_taken_by_turns_too() -> None:
    desk = Desk()
    assert desk.queue.highest() is None
    with pytest.raises(IndexError):
        desk.queue.next_urgent()
    first = desk.arrive(2.0, owner="a")
    desk.arrive(2.0, owner="a")
    other = desk.arrive(2.0, owner="b")
    desk.now = 1000 * NANO
    desk.arrive(0.0)
    assert desk.queue.highest() == 2.0
    assert [desk.ticket(desk.queue.next_urgent()) for _ in range(2)] == [first, other]


def test_the_longest_line_loses_its_place() -> None:
    """The urgent newcomer costs the flood its last job, not the other owner its only one."""
    desk = Desk(Bounds(requests=4, size=1000))
    flood = [desk.arrive(1.0, owner="flood") for _ in range(3)]
    other = desk.arrive(1.0, owner="other")
    assert desk.make_way(job(2.0)) == [flood[-1]]
    desk.arrive(2.0)
    assert [desk.ticket(s) for s in desk.serve_all()][1:] == [flood[0], other, flood[1]]


def test_who_has_begun_does_not_make_way() -> None:
    desk = Desk(Bounds(requests=1, size=1000))
    desk.arrive(1.0, n=2)
    desk.serve()
    waits = desk.arrive(1.0)
    assert desk.make_way(job(2.0)) == [waits]
    assert len(desk.queue) == 1, "the second choice of the first still waits"


def test_the_longest_line_that_may_lose() -> None:
    """A line whose last job has begun is left alone, and so is who is too small to help."""
    desk = Desk(Bounds(requests=3, size=100))
    desk.arrive(1.0, owner="begun", n=9)
    desk.serve()
    flood = [desk.arrive(1.0, owner="flood", size=20) for _ in range(2)]
    single = desk.arrive(1.0, owner="single", size=60)
    assert desk.make_way(job(2.0, size=1)) == [single], (
        "only it is as large as the one in the place"
    )
    assert desk.make_way(job(2.0, size=90)) == flood[::-1]


def test_a_refusal_changes_nothing() -> None:
    desk = Desk(Bounds(requests=3, size=100))
    for owner in "ab":
        desk.arrive(1.0, owner=owner, size=30)
    desk.arrive(0.0, owner="c", size=30)
    before = list(desk.queue.order(desk.now))
    for _ in range(3):
        assert desk.make_way(job(0.5, size=99)) is None
        assert list(desk.queue.order(desk.now)) == before


def test_age_protects() -> None:
    """After d/r seconds of waiting a job would be served before the newcomer: it stays."""
    desk = Desk(Bounds(1, 100))
    ticket = desk.arrive(1.0)
    desk.now = 1
    assert desk.make_way(job(1.0)) is None, "equals do not displace each other"
    desk.now = 5 * NANO
    assert desk.make_way(job(2.0)) is None
    desk.now -= 1
    assert desk.make_way(job(2.0)) == [ticket]


def test_what_a_client_allows_is_no_forecast() -> None:
    """An owner that asks for 30,000 tokens and takes 20 gets as much as one without a limit."""
    desk = Desk()
    running: list[Sequence] = []
    served = {"greedy": 0, "modest": 0}
    for _ in range(300):
        desk.arrive(owner="greedy", max_tokens=30_000)
        desk.arrive(owner="modest")
    for _ in range(300):
        running.append(desk.serve())
        served[running[-1].job.owner] += 1
        if len(running) == 16:
            ended = running.pop(0)
            ended.ids = [1] * 20
            desk.queue.settle(ended)
    assert abs(served["greedy"] - served["modest"]) <= 2


ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 2.0]),
        st.sampled_from("abc"),
        st.integers(1, 3),
        st.integers(0, 7),
        st.booleans(),
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(arrivals=ARRIVALS)
def test_turns_never_change_which_class_is_served(
    arrivals: list[tuple[float, str, int, int, bool]],
) -> None:
    """Classes keep their arrival keys: with owners or without, the same classes come up."""
    shared, alone = Desk(), Desk()
    served: tuple[list[Sequence], list[Sequence]] = [], []
    for priority, owner, n, gap, serve in arrivals:
        for desk, log in zip((shared, alone), served, strict=True):
            desk.now += gap * NANO
            desk.arrive(priority, n=n, owner=owner if desk is shared else "")
            if serve:
                log.append(desk.serve())
    for desk, log in zip((shared, alone), served, strict=True):
        order = [sequence for _, sequence in desk.queue.order(desk.now)]
        rest = desk.serve_all()
        assert rest == order, "the order that is told is the order that is kept"
        log += rest
    classes = [[sequence.priority for sequence in log] for log in served]
    assert classes[0] == classes[1]
    own: dict[tuple[float, str], list[int]] = {}
    for sequence in served[0]:
        own.setdefault((sequence.priority, sequence.job.owner), []).append(sequence.id)
    assert all(ids == sorted(ids) for ids in own.values()), "an owner's own jobs keep their order"


BOUNDS = Bounds(requests=4, size=100)


class Door(RuleBasedStateMachine):
    """Jobs of one owner come, are started, give up, and make way for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(BOUNDS)
        self.queue = self.desk.queue
        self.inside: dict[Ticket, int] = {}

    @rule(
        priority=st.sampled_from([0.0, 1.0, 2.0]),
        size=st.integers(0, 110),
        gap=st.integers(0, 6),
    )
    def offer(self, priority: float, size: int, gap: int) -> None:
        self.desk.now += gap * NANO
        newcomer = job(priority, size=size)
        expected = self.must_go(self.key(priority, self.desk.now), size)
        if expected is not None:
            assert self.queue.full(newcomer) == bool(expected)
        assert self.desk.make_way(newcomer) == expected
        if expected is None:
            return
        for victim in expected:
            del self.inside[victim]
        self.inside[self.desk.arrive(priority, size=size)] = size

    def key(self, priority: float, arrived_ns: int) -> float:
        return RATE * arrived_ns / NANO - priority

    def must_go(self, key: float, size: int) -> list[Ticket] | None:
        """The oracle: the last in the order go first, until the newcomer fits."""
        left = sorted(self.inside, key=lambda t: (self.key(t.job.priority, t.arrived_ns), t.id))
        victims: list[Ticket] = []
        while len(left) >= BOUNDS.requests or size + sum(t.job.size for t in left) > BOUNDS.size:
            if not left or self.key(left[-1].job.priority, left[-1].arrived_ns) <= key + 1e-9:
                return None
            victims.append(left.pop())
        return victims

    @precondition(lambda self: self.inside)
    @rule(pick=st.integers(0, 99))
    def leave(self, pick: int) -> None:
        self.give_up(list(self.inside)[pick % len(self.inside)])

    @precondition(lambda self: self.inside)
    @rule()
    def start(self) -> None:
        del self.inside[self.desk.ticket(self.desk.serve())]

    def give_up(self, ticket: Ticket) -> None:
        for sequence in ticket.sequences:
            self.queue.leave(sequence)
        del self.inside[ticket]

    @invariant()
    def books_agree(self) -> None:
        assert len(self.queue) == len(self.inside) <= BOUNDS.requests
        assert sum(self.inside.values()) <= BOUNDS.size
        assert {self.desk.ticket(sequence) for sequence in self.queue.waiting()} == set(self.inside)


TestDoor = Door.TestCase
TestDoor.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
