"""The dispatcher under any mix of clients, workers and deaths, in growing trouble.

Whatever happens: a ticket ends exactly once, no accepted job is forgotten, no credit is lost or
used twice, no token is lost or repeated, and sequences reach workers in the order of the key; with
several owners, in the order that the queue tells (test_queue holds that against an oracle).
"""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from gateway.core.clock import NANO
from gateway.core.errors import DeadlineExceeded, Displaced, QueueFull
from gateway.dispatch.job import Job
from gateway.dispatch.quarantine import MAX_DEATHS
from gateway.dispatch.sequence import Sequence, State
from gateway.dispatch.ticket import Ticket
from gateway.ordering.admission import Bounds
from gateway.ordering.preemption import PreemptionRules
from tests.support.dispatcher_traffic import RATE, Traffic
from tests.support.memory_pool import ids, job


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
        waiting = self.rivals()
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

    def rivals(self) -> list[Sequence]:
        """Return the sequences that may take another's slot away, in order."""
        return self.unsuspected()

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


class Spare(Crowded):
    """The same with spare requests, which get what the others leave, and may be promoted."""

    def _is_spare(self, sequence: Sequence) -> bool:
        return self.ticket_of[sequence.id].job.spare

    def _was_spare(self, sequence: Sequence) -> bool:
        return self._is_spare(sequence) or sequence.ticket_id in self.promoted

    def _in_queue(self) -> tuple[list[Sequence], list[Sequence]]:
        """Ordinary and spare sequences that wait for any slot, each in the dispatcher's order."""
        order = [sequence for _, sequence in self.dispatcher.stats.order()]
        ready = [s for s in order if self.deaths[s.id] < MAX_DEATHS]
        ordinary = [s for s in ready if not self._is_spare(s)]
        return ordinary, [s for s in ready if self._is_spare(s)]

    def _suspected(self, *, spare: bool) -> list[Sequence]:
        order = [sequence for _, sequence in self.dispatcher.stats.order()]
        killed = [s for s in order if self.deaths[s.id] >= MAX_DEATHS]
        return [s for s in killed if self._is_spare(s) is spare]

    def suspects(self) -> list[Sequence]:
        """Spare ones get a worker of their own only while nothing else waits."""
        ordinary, _ = self._in_queue()
        return self._suspected(spare=False) or ([] if ordinary else self._suspected(spare=True))

    def behind(self, first: list[Sequence]) -> list[Sequence]:
        ordinary, spare = self._in_queue()
        alone = [s for s in self._suspected(spare=False) if s not in first]
        return ordinary + ([] if alone else spare)

    def check_last(self, sent: list[int]) -> None:
        """A spare suspect, once nothing else waits."""
        alone = self.alone()
        assert sent == [] or (alone is not None and sent == [alone.id] and self._is_spare(alone))
        assert sent == [] or not self.rivals()

    def rivals(self) -> list[Sequence]:
        return self._in_queue()[0]

    def never_started(self) -> list[Ticket]:
        """Only these count: no spare request, nor one that was."""
        counted = super().never_started()
        return [t for t in counted if not t.job.spare and t.id not in self.promoted]

    @initialize()
    def nothing_is_promoted(self) -> None:
        self.promoted: set[int] = set()

    @rule(
        priority=st.sampled_from([0.0, 0.5, 9.0]),
        n=st.sampled_from([1, 1, 2]),
        owner=st.integers(0, 9),
    )
    def submit_spare(self, priority: float, n: int, owner: int) -> None:
        """However full the queue is: it is accepted, and displaces nothing."""
        waited = self.never_started()
        name = self.owners[owner % len(self.owners)]
        Traffic.accept(self, job(priority, n=n, owner=name, size=30, spare=True))
        assert not any(ticket.ended for ticket in waited)

    @precondition(lambda self: any(ticket.job.spare for ticket in self.tickets))
    @rule(pick=st.integers(0, 99), priority=st.sampled_from([0.0, 1.0, 9.0]))
    def promote(self, pick: int, priority: float) -> None:
        spare = [ticket for ticket in self.tickets if ticket.job.spare]
        ticket = spare[pick % len(spare)]
        before, states = ticket.job.priority, [s.state for s in ticket.sequences]
        self.dispatcher.promote(ticket, priority)
        assert ticket.job.spare is ticket.ended
        assert [s.state for s in ticket.sequences] == states
        if not ticket.ended:
            assert ticket.job.priority == max(priority, before)
            self.promoted.add(ticket.id)

    @rule()
    def dispatch(self) -> None:
        """As many spare ones leave as others wait; all of them, if one needs a whole worker."""
        super().dispatch()
        wanted = len(self.expected(State.RUNNING)) if self._suspected(spare=False) else 0
        wanted = wanted or len(self.rivals())
        spare = [s for s in self.expected(State.RUNNING) if self._is_spare(s)]
        left = [s for s in spare if s.id not in self.pool.asked_to_park]
        asked = [id_ for id_ in self.pool.asked_to_park if self._was_spare(self.sequences[id_])]
        assert not left or len(asked) >= wanted
        for id_, sent in self.pool.running().items():
            behind_all = (sent.priority, sent.rank) == (-math.inf, math.inf)
            assert behind_all or not self._is_spare(self.sequences[id_])

    @precondition(lambda self: self.pool.asked_to_park)
    @rule(pick=st.integers(0, 99))
    def yield_slot(self, pick: int) -> None:
        """A spare one's slot is a free one: it is given by the order of all that wait."""
        asked = self.pool.asked_to_park
        victim = self.sequences[asked[pick % len(asked)]]
        if not self._was_spare(victim) or victim.ended:
            super().yield_slot(pick)
            return
        before, rivals, spare = len(self.pool.submitted), self.rivals(), self._is_spare(victim)
        self.pool.yield_slot(victim.id)
        assert victim.state is State.WAITING
        sent = [request.id for request in self.pool.submitted[before:]]
        more_urgent = [s.id for s in rivals if s.priority > victim.priority]
        assert sent == [] or (not spare and sent[0] in more_urgent)

    @invariant()
    def nobody_is_asked_twice(self) -> None:
        asked = map(self.sequences.__getitem__, self.pool.asked_to_park)
        assert sum(not self._was_spare(s) for s in asked) <= 1 or self.first_death

    @invariant()
    def only_the_less_urgent_are_asked(self) -> None:
        """A spare one has to leave also before it has proven harmless."""
        alone = self.alone()
        for id_ in self.pool.asked_to_park:
            assert id_ in self.pool.running()
            assert alone is None or alone.id != id_ or self._was_spare(alone)

    @invariant()
    def spare_ones_are_counted_apart(self) -> None:
        stats = self.dispatcher.stats
        waiting, running = self.expected(State.WAITING), self.expected(State.RUNNING)
        assert stats.spare_depth() == sum(map(self._is_spare, waiting))
        assert stats.spare_running() == sum(map(self._is_spare, running))


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
Spare.TestCase.settings = Traffic.TestCase.settings
TestSpare = Spare.TestCase
