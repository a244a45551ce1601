"""Spare sequences: behind everything else, in turns of their owners, and never counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.clock import NANO
from gateway.dispatch.queues import Queues
from gateway.dispatch.sequence import Move, Sequence, State
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from tests.support.memory_pool import ids, job, only

RATE = 0.2


class Desk:
    """Both queues, and a hand that starts, parks, ends and promotes what they give."""

    def __init__(self, bounds: Bounds = UNBOUNDED) -> None:
        self.shared = SharedAdmission(bounds)
        self.queues = Queues(RATE, self.shared)
        self.now = 0
        self.next_id = 1

    def arrive(self, priority: float = 0.0, *, spare: bool = True, **fields: Any) -> Sequence:
        ticket = Ticket(self.next_id, job(priority, spare=spare, **fields), self.now)
        self.next_id += 1
        self.queues.of(only(ticket)).enter(ticket.sequences)
        return only(ticket)

    def serve(self) -> Sequence:
        sequence = self.queues.next(self.now)
        sequence.move(Move.DISPATCH)
        sequence.attempt += 1
        return sequence

    def back(self, sequence: Sequence) -> None:
        sequence.move(Move.REQUEUE)
        self.queues.of(sequence).back(sequence)

    def suspect(self, sequence: Sequence) -> None:
        sequence.move(Move.REQUEUE)
        self.queues.of(sequence).suspect(sequence)

    def end(self, sequence: Sequence) -> None:
        queue = self.queues.of(sequence)
        if sequence.state is State.WAITING:
            queue.leave(sequence)
        if not sequence.fresh:
            queue.settle(sequence)
        queue.forget(sequence)
        sequence.move(Move.CANCEL)

    def promote(self, sequence: Sequence, priority: float) -> None:
        self.queues.promote(
            sequence, replace(sequence.job, spare=False, priority=priority), self.now
        )


def test_spare_ones_are_looked_at_when_nothing_else_waits() -> None:
    desk = Desk()
    spare = [desk.arrive(priority) for priority in (9.0, 0.0)]
    desk.now += 10**6 * NANO  # no age helps
    late = [desk.arrive(priority, spare=False) for priority in (-5.0, 0.0)]
    assert desk.queues.ready == 2
    assert [desk.serve().id for _ in range(4)] == ids([*reversed(late), *spare])


def test_priority_then_arrival_and_no_age() -> None:
    desk = Desk()
    old = desk.arrive(0.0)
    desk.now += 10**6 * NANO
    urgent, late = desk.arrive(1.0), desk.arrive(0.0)
    assert [desk.serve().id for _ in range(3)] == ids([urgent, old, late])


def test_owners_take_turns() -> None:
    desk = Desk()
    many = [desk.arrive(owner="many") for _ in range(50)]
    one = desk.arrive(owner="one")
    assert one.id in [desk.serve().id for _ in range(2)]
    assert desk.serve().id in ids(many)


def test_a_weight_is_a_share_of_the_spare_slots_too() -> None:
    desk = Desk()
    for _ in range(60):
        desk.arrive(owner="heavy", weight=3.0)
        desk.arrive(owner="light")
    served = Counter(desk.serve().job.owner for _ in range(40))
    assert abs(served["heavy"] - 30) <= 1


def test_what_was_parked_goes_on_before_later_ones() -> None:
    desk = Desk()
    first, second = desk.arrive(), desk.arrive()
    assert desk.serve() is first
    desk.back(first)
    assert [desk.serve().id, desk.serve().id] == ids([first, second])


def test_the_bounds_do_not_know_them() -> None:
    desk = Desk(Bounds(requests=1, size=100))
    desk.shared.join(desk.queues.ordinary, lambda id_, error: None)
    for _ in range(5):
        desk.arrive(size=90)
    newcomer = job(2.0, size=90)
    assert not desk.queues.ordinary.full(newcomer)
    waiting = desk.arrive(1.0, spare=False, size=90)
    assert desk.queues.ordinary.full(newcomer)
    assert desk.queues.ordinary.can_displace(newcomer, desk.now)
    desk.end(waiting)
    assert not desk.queues.ordinary.full(newcomer)
    assert list(desk.queues.ordinary.worst_first()) == []
    assert not desk.queues.ordinary.can_displace(job(9.0, size=101), desk.now)


def test_an_ordinary_suspect_keeps_spare_ones_waiting() -> None:
    desk = Desk()
    ordinary = desk.arrive(spare=False)
    desk.serve()
    spare = desk.arrive()
    desk.suspect(ordinary)
    assert (desk.queues.ready, desk.queues.suspects) == (0, 1)
    assert desk.queues.next_suspect() is ordinary
    assert desk.queues.ready == 1
    assert desk.serve() is spare


def test_a_spare_suspect_waits_until_nothing_else_does() -> None:
    desk = Desk()
    killer = desk.arrive()
    desk.serve()
    desk.suspect(killer)
    assert desk.queues.suspects == 1
    ordinary = desk.arrive(spare=False)
    assert (desk.queues.suspects, desk.queues.ready) == (0, 1)
    assert desk.serve() is ordinary
    assert desk.queues.suspects == 1
    assert desk.queues.next_suspect() is killer


def test_a_promoted_one_waits_as_if_it_came_now() -> None:
    desk = Desk()
    spare = desk.arrive()
    desk.now += 10**6 * NANO
    earlier = desk.arrive(1.0, spare=False)
    desk.now += NANO
    desk.promote(spare, 1.0)
    later = desk.arrive(1.0, spare=False)
    assert [desk.serve().id for _ in range(3)] == ids([earlier, spare, later])


def test_a_promoted_one_is_not_displaced() -> None:
    desk = Desk(Bounds(requests=1, size=100))
    desk.shared.join(desk.queues.ordinary, lambda id_, error: None)
    desk.promote(desk.arrive(size=90), 1.0)
    assert not desk.queues.ordinary.full(job(size=90))
    assert list(desk.queues.ordinary.worst_first()) == []


def test_the_order_tells_ordinary_ones_first() -> None:
    desk = Desk()
    spare = desk.arrive(9.0)
    ordinary = desk.arrive(0.0, spare=False)
    desk.now += 5 * NANO
    order = [(sequence.id, entry.priority) for entry, sequence in desk.queues.order(desk.now)]
    assert order == [(ordinary.id, 0.0), (spare.id, 9.0)]
    assert set(ids(desk.queues.waiting())) == {spare.id, ordinary.id}


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from("abc"), st.integers(0, 5)),
        min_size=1,
        max_size=40,
    )
)
def test_no_class_waits_for_a_lower_one_and_no_owner_for_another(
    arrivals: list[tuple[float, str, int]],
) -> None:
    """Of equal costs each owner that still waits has had as many turns as others, or one less."""
    desk = Desk()
    for priority, owner, gap in arrivals:
        desk.now += gap * NANO
        desk.arrive(priority, owner=owner)
    served = [desk.serve() for _ in arrivals]
    assert [s.priority for s in served] == sorted((s.priority for s in served), reverse=True)
    for priority in {priority for priority, _, _ in arrivals}:
        turns = Counter[str]()
        left = Counter(owner for at, owner, _ in arrivals if at == priority)
        of_class = [s for s in served if s.priority == priority]
        for owner in left:
            own = [s.id for s in of_class if s.job.owner == owner]
            assert own == sorted(own), "one owner's in order of arrival"
        for sequence in of_class:
            owner = sequence.job.owner
            behind = [turns[each] for each in left if left[each]]
            assert turns[owner] <= min(behind)
            turns[owner] += 1
            left[owner] -= 1


class Changes(RuleBasedStateMachine):
    """Sequences come, start, park, end and are promoted, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.open: list[Sequence] = []

    def of(self, *states: State) -> list[Sequence]:
        return [sequence for sequence in self.open if sequence.state in states]

    @rule(
        priority=st.sampled_from([0.0, 1.0, 2.0]),
        spare=st.booleans(),
        owner=st.sampled_from("ab"),
        gap=st.integers(0, 3),
    )
    def arrive(self, priority: float, spare: bool, owner: str, gap: int) -> None:
        self.desk.now += gap * NANO
        self.open.append(self.desk.arrive(priority, spare=spare, owner=owner, size=30))

    @precondition(lambda self: self.desk.queues.ready)
    @rule()
    def serve(self) -> None:
        ordinary = [s for s in self.of(State.WAITING) if not s.job.spare]
        chosen = self.desk.serve()
        assert not chosen.job.spare or not ordinary

    @precondition(lambda self: self.desk.queues.suspects)
    @rule()
    def serve_suspect(self) -> None:
        suspect = self.desk.queues.next_suspect()
        suspect.move(Move.DISPATCH)
        suspect.attempt += 1
        assert suspect in self.open

    @precondition(lambda self: self.of(State.RUNNING))
    @rule(pick=st.integers(0, 9), suspect=st.booleans())
    def park(self, pick: int, suspect: bool) -> None:
        running = self.of(State.RUNNING)
        sequence = running[pick % len(running)]
        (self.desk.suspect if suspect else self.desk.back)(sequence)

    @precondition(lambda self: self.open)
    @rule(pick=st.integers(0, 9))
    def end(self, pick: int) -> None:
        sequence = self.open.pop(pick % len(self.open))
        self.desk.end(sequence)

    @precondition(lambda self: any(s.job.spare for s in self.open))
    @rule(pick=st.integers(0, 9), priority=st.sampled_from([0.0, 1.0, 3.0]))
    def promote(self, pick: int, priority: float) -> None:
        spare = [s for s in self.open if s.job.spare]
        sequence = spare[pick % len(spare)]
        before = sequence.state
        self.desk.promote(sequence, priority)
        assert sequence.state is before
        assert not sequence.job.spare

    @invariant()
    def each_waits_once(self) -> None:
        waiting = sorted(ids(self.of(State.WAITING)))
        assert sorted(ids(self.desk.queues.waiting())) == waiting
        order = [sequence for _, sequence in self.desk.queues.order(self.desk.now)]
        assert sorted(ids(order)) == waiting
        spare = [sequence.job.spare for sequence in order]
        assert spare == sorted(spare)

    def teardown(self) -> None:
        for sequence in self.open:
            self.desk.end(sequence)
        assert self.desk.queues.leaks() == []


Changes.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestChanges = Changes.TestCase
