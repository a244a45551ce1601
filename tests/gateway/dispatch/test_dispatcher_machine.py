"""The dispatcher under any mix of clients, workers and deaths, in growing trouble.

Whatever happens: a ticket ends exactly once, no accepted job is forgotten, no credit is lost or
used twice, no token is lost or repeated, and sequences reach workers in the order of the key; with
several owners, in the order that the queue tells (test_queue holds that against an oracle).
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from gateway.core.clock import NANO
from gateway.core.errors import DeadlineExceeded, Displaced, QueueFull
from gateway.dispatch.job import Job
from gateway.dispatch.sequence import Sequence, State
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from gateway.ordering.preemption import PreemptionRules
from tests.support.dispatcher_traffic import RATE, Traffic
from tests.support.memory_pool import ids


class Overload(Traffic):
    """The same with preemption, and with requests whose time runs out."""

    preemption = PreemptionRules(quantum_s=0, aging_rate=float(RATE))

    @precondition(lambda self: self.pool.asked_to_park)
    @rule(pick=st.integers(0, 99))
    def yield_slot(self, pick: int) -> None:
        """The slot goes to the most urgent that waits, if that is more urgent; else it is free."""
        id_ = self.pool.asked_to_park[pick % len(self.pool.asked_to_park)]
        victim, before = self.sequences[id_], len(self.pool.submitted)
        had_ended = victim.ended
        waiting = self.unsuspected()
        kept = self.pool.reserved is not None and id_ in self.pool.in_flight[self.pool.reserved]
        free = self.pool.free()
        self.pool.yield_slot(id_)
        sent = [request.id for request in self.pool.submitted[before:]]
        if had_ended:
            assert sent == []
            return
        assert victim.state is State.WAITING
        urgent = max((sequence.priority for sequence in waiting), default=victim.priority)
        if urgent > victim.priority:
            bound = round((urgent - victim.priority) / float(RATE) * NANO)
            self.overdue[id_] = self.clock.now + max(0, bound - victim.parked_ns)
            if kept and not free:  # the slot is that of a worker kept for a suspect
                assert sent == []
                return
            oldest = next(s for s in waiting if s.priority == urgent)
            assert sent == [oldest.id]
            self.overdue.pop(oldest.id, None)
            assert self.pool.submitted[-1].resume == self.tokens[oldest.id]
        else:
            assert sent == []

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0, 99))
    def expire(self, pick: int) -> None:
        ticket = self.tickets[pick % len(self.tickets)]
        had_ended, state = ticket.ended, ticket.state
        self.dispatcher.deadlines.expire(ticket)
        self.forget(ticket)
        assert ticket.state is (state if had_ended else State.FAILED)
        assert had_ended or isinstance(ticket.error, DeadlineExceeded)

    @invariant()
    def nobody_is_asked_twice(self) -> None:
        """One by preemption; others only because suspects wait for a worker of their own."""
        assert len(self.pool.asked_to_park) <= 1 or self.deaths

    @invariant()
    def only_the_less_urgent_are_asked(self) -> None:
        for id_ in self.pool.asked_to_park:
            assert id_ in self.pool.running()
            assert self.alone() is not self.sequences[id_]


class Shared(Overload):
    """The same with several owners, who take turns."""

    owners = ("app", "agents", "batch jobs")

    def in_order(self, waiting: list[Sequence]) -> list[Sequence]:
        """Overdue ones first, then as the queue tells."""
        count = len(super().suspects())
        order = [sequence for _, sequence in self.dispatcher.stats.order()]
        assert sorted(ids(order[count:])) == sorted(ids(waiting))
        return order[count:]

    def suspects(self) -> list[Sequence]:
        """They come first; in the order of their places, which may have been others' before."""
        suspects = super().suspects()
        first = [sequence for _, sequence in self.dispatcher.stats.order()][: len(suspects)]
        assert sorted(ids(first)) == sorted(ids(suspects))
        return first


class Crowded(Shared):
    """The same with a queue that is soon full: who was accepted is served or told why not."""

    bounds = Bounds(requests=3, size=100)

    def never_started(self) -> list[Ticket]:
        return [t for t in self.tickets if not t.ended and t.dispatched_ns is None]

    def accept(self, job: Job) -> None:
        before, waited = len(self.pool.submitted), self.never_started()
        try:
            super().accept(job)
        except QueueFull:
            assert len(self.never_started()) == 3, "three of 30 bytes fit"
        for request in self.pool.submitted[before:]:  # slots were free when it came
            self.overdue.pop(request.id, None)
        for ticket in waited:
            if ticket.ended:
                assert isinstance(ticket.error, Displaced)
                assert ticket.job.priority < job.priority

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.never_started()) <= 3


class Slow(Crowded):
    """The same with clients that do not read, or read late."""

    unread = 2

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0, 99))
    def read(self, pick: int) -> None:
        ticket = self.tickets[pick % len(self.tickets)]
        paused = [s for s in ticket.sequences if s.state is State.PAUSED]
        if ticket.unread:
            self.take(ticket)
            assert all(s.state is State.WAITING for s in paused), "the old place is taken again"

    @precondition(lambda self: self.pool.asked_to_park)
    @rule(pick=st.integers(0, 99))
    def yield_slot(self, pick: int) -> None:
        """Let the sequence that was asked leave: to wait for its reader, or in the queue."""
        asked = self.pool.asked_to_park
        id_ = asked[pick % len(asked)]
        sequence = self.sequences[id_]
        had_ended = sequence.ended
        unread = self.ticket_of[sequence.id].unread if not had_ended else 0
        before = len(self.pool.submitted)
        self.pool.yield_slot(id_)
        for request in self.pool.submitted[before:]:
            self.overdue.pop(request.id, None)
        if not had_ended:
            full = unread > self.unread  # at most three sequences share it
            assert sequence.state is (State.PAUSED if full else State.WAITING)

    @invariant()
    def nobody_pauses_who_is_read(self) -> None:
        for sequence in self.expected(State.PAUSED):
            assert self.ticket_of[sequence.id].unread
        assert self.dispatcher.stats.paused() == len(self.expected(State.PAUSED))

    @invariant()
    def nobody_is_asked_twice(self) -> None:
        """Several may be asked here: one by preemption, others because they are not read."""

    @invariant()
    def only_the_less_urgent_are_asked(self) -> None:
        assert set(self.pool.asked_to_park) <= set(self.pool.running())


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
Overload.TestCase.settings = Traffic.TestCase.settings
TestOverload = Overload.TestCase
Shared.TestCase.settings = Traffic.TestCase.settings
TestShared = Shared.TestCase
Crowded.TestCase.settings = Traffic.TestCase.settings
TestCrowded = Crowded.TestCase
Slow.TestCase.settings = Traffic.TestCase.settings
TestSlow = Slow.TestCase
