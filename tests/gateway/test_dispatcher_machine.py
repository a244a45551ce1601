"""The dispatcher under any mix of clients, workers and deaths.

Whatever happens: a ticket ends exactly once, no accepted job is forgotten, no credit is lost or
used twice, no token is lost or repeated, and jobs reach workers in the order of the key.
"""

import asyncio
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.aging import NANO
from gateway.dispatcher import MAX_DEATHS, Dispatcher
from gateway.errors import DeadlineExceeded
from gateway.preemption import Rules
from gateway.ticket import State, Ticket
from tests.gateway.memory_pool import Clock, Ends, MemoryPool, ids, job
from workers.protocol import Delta, Finished

RATE = Fraction(1, 5)


class Traffic(RuleBasedStateMachine):
    """Clients submit and hang up; workers start, progress, finish, fail and die."""

    preemption: Rules | None = None

    @initialize(slots=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def create(self, slots: list[int]) -> None:
        self.runner = asyncio.Runner()
        self.pool = MemoryPool(*slots)
        self.clock = Clock()
        self.ends = Ends()
        self.dispatcher = Dispatcher(
            self.pool, float(RATE), self.clock, self.ends, preemption=self.preemption
        )
        self.pool.attach(self.dispatcher)
        self.tickets: list[Ticket] = []
        self.tokens: dict[int, list[int]] = {}
        """What the workers said about each ticket while its client was there."""
        self.deaths: dict[int, int] = {}
        self.task = self.runner.run(self._start())

    async def _start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.dispatcher.run())

    async def _settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    def key(self, ticket: Ticket) -> tuple[Fraction, int]:
        """The place in the queue; as in test_aging, where the heap meets its own oracle."""
        return RATE * Fraction(ticket.arrived_ns, NANO) - Fraction(ticket.job.priority), ticket.id

    def expected(self, state: State) -> list[Ticket]:
        return [ticket for ticket in self.tickets if ticket.state is state]

    # ------------------------------------------------------------------ clients

    @rule(priority=st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.0, 9.0]), gap=st.integers(0, 9))
    def submit(self, priority: float, gap: int) -> None:
        self.clock.now += gap * NANO
        ticket = self.dispatcher.submit(job(priority))
        self.tickets.append(ticket)
        self.tokens[ticket.id], self.deaths[ticket.id] = [], 0

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        ticket = self.tickets[pick % len(self.tickets)]
        had_ended, state = ticket.ended, ticket.state
        self.dispatcher.cancel(ticket)
        assert ticket.state is (state if had_ended else State.CANCELLED)

    # ------------------------------------------------------------------ the loop

    @rule()
    def dispatch(self) -> None:
        """The loop gives every free credit to the next in the order of the key."""
        queue = sorted(self.expected(State.WAITING), key=self.key)
        before, free = len(self.pool.submitted), self.pool.free()
        self.runner.run(self._settle())
        sent = self.pool.submitted[before:]
        assert [request.id for request in sent] == ids(queue[:free])
        for request in sent:
            assert request.resume == self.tokens[request.id]

    # ------------------------------------------------------------------ workers

    def pick(self, number: int) -> Ticket:
        running = sorted(self.pool.running())
        id_ = running[number % len(running)]
        return self.tickets[id_ - 1]

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99), tokens=st.integers(0, 3))
    def progress(self, pick: int, tokens: int) -> None:
        ticket = self.pick(pick)
        new = self.pool.progress(ticket.id, tokens)
        if not ticket.ended:
            self.tokens[ticket.id] += new
            self.deaths[ticket.id] = 0 if new else self.deaths[ticket.id]

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def begin(self, pick: int) -> None:
        self.pool.begin(self.pick(pick).id)

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def finish(self, pick: int) -> None:
        ticket = self.pick(pick)
        had_ended = ticket.ended
        new = self.pool.finish(ticket.id)
        if not had_ended:
            self.tokens[ticket.id] += new
            assert ticket.state is State.FINISHED

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def fail(self, pick: int) -> None:
        ticket = self.pick(pick)
        had_ended = ticket.ended
        self.pool.fail(ticket.id)
        assert had_ended or ticket.state is State.FAILED

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99), last=st.booleans())
    def echo(self, pick: int, last: bool) -> None:
        """A frame of an attempt that is over must change nothing."""
        ticket = self.pick(pick)
        attempt = ticket.attempt - 1
        event = Finished(ticket.id, attempt, "stop", [-1], "!") if last else None
        before = ticket.state
        self.dispatcher.on_event(event or Delta(ticket.id, attempt, [-1], "!"))
        assert ticket.state is before

    @rule(pick=st.integers(0, 9))
    def die(self, pick: int) -> None:
        running = self.expected(State.RUNNING)
        lost = self.pool.die(pick % len(self.pool.slots))
        for ticket in running:
            if ticket.id not in lost:
                assert ticket.state is State.RUNNING
                continue
            self.deaths[ticket.id] += 1
            given_up = self.deaths[ticket.id] >= MAX_DEATHS
            assert ticket.state is (State.FAILED if given_up else State.WAITING)

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def books_agree(self) -> None:
        waiting, running = self.expected(State.WAITING), self.expected(State.RUNNING)
        assert self.dispatcher.depth() == len(waiting)
        assert {place.item.id for place in self.dispatcher.waiting()} == set(ids(waiting))
        assert self.dispatcher.running() == len(running)
        # No job runs without a credit; a cancelled one holds its credit until the worker ends it.
        assert set(ids(running)) <= set(self.pool.running())
        ended = [ticket for ticket in self.tickets if ticket.ended]
        assert sorted(ids(self.ends.tickets)) == sorted(ids(ended))

    @invariant()
    def tokens_agree(self) -> None:
        for ticket in self.tickets:
            assert ticket.ids == self.tokens[ticket.id]

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.serve_the_rest()
        self.runner.run(self._check_channels())
        self.task.cancel()
        self.runner.close()

    def serve_the_rest(self) -> None:
        """No accepted job is forgotten: with working workers, all of them end."""
        for _ in range(2 * len(self.tickets) + 1):
            self.dispatch()
            for _ in range(len(self.pool.running())):
                self.finish(0)
        assert all(ticket.ended for ticket in self.tickets)
        assert self.pool.free() == sum(self.pool.slots)
        self.runner.run(asyncio.wait_for(self.dispatcher.idle(), 1))

    async def _check_channels(self) -> None:
        """What the client hears is what was counted: no token lost, none twice."""
        for ticket in self.tickets:
            heard = [] if ticket.error and not ticket._events else await ticket.take(timeout=0)
            spoken = [e for e in heard if isinstance(e, Delta | Finished)]
            assert [id_ for event in spoken for id_ in event.ids] == ticket.ids
            ends = [event for event in spoken if isinstance(event, Finished)]
            assert len(ends) == (ticket.state is State.FINISHED)


class Overload(Traffic):
    """The same with preemption, and with requests whose time runs out."""

    preemption = Rules(quantum_s=0, aging_rate=float(RATE))

    @precondition(lambda self: self.pool.asked_to_park)
    @rule()
    def yield_slot(self) -> None:
        """The slot goes to the most urgent that waits, if that is more urgent; else it is free."""
        (id_,) = self.pool.asked_to_park
        victim, before = self.tickets[id_ - 1], len(self.pool.submitted)
        had_ended = victim.ended
        waiting = self.expected(State.WAITING)
        self.pool.yield_slot(id_)
        sent = [request.id for request in self.pool.submitted[before:]]
        if had_ended:
            assert sent == []
            return
        assert victim.state is State.WAITING
        urgent = max((ticket.priority for ticket in waiting), default=victim.priority)
        if urgent > victim.priority:
            oldest = min((t for t in waiting if t.priority == urgent), key=self.key)
            assert sent == [oldest.id]
            assert self.pool.submitted[-1].resume == self.tokens[oldest.id]
        else:
            assert sent == []

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0, 99))
    def expire(self, pick: int) -> None:
        ticket = self.tickets[pick % len(self.tickets)]
        had_ended, state = ticket.ended, ticket.state
        self.dispatcher.expire(ticket)
        assert ticket.state is (state if had_ended else State.FAILED)
        assert had_ended or isinstance(ticket.error, DeadlineExceeded)

    @invariant()
    def nobody_is_asked_twice(self) -> None:
        assert len(self.pool.asked_to_park) <= 1

    @invariant()
    def only_the_less_urgent_are_asked(self) -> None:
        for id_ in self.pool.asked_to_park:
            assert id_ in self.pool.running()


Traffic.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
Overload.TestCase.settings = Traffic.TestCase.settings
TestOverload = Overload.TestCase
