"""Clients and workers of every kind around one dispatcher: the machine of the tests beside it.

It keeps books of its own, from what clients and workers did alone, and holds the dispatcher's
against them after every move.
"""

import asyncio
from fractions import Fraction

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.clock import NANO
from gateway.dispatch.backpressure import UNREAD
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.job import Job
from gateway.dispatch.quarantine import BEFORE_NS, MAX_DEATHS
from gateway.dispatch.sequence import Sequence, State
from gateway.dispatch.shared_admission import UNBOUNDED, SharedAdmission
from gateway.dispatch.ticket import ClientEvent, Ticket
from gateway.ordering.preemption import PreemptionRules
from tests.support.memory_pool import Clock, Ends, MemoryPool, ids, job
from workers.protocol import Delta, Finished

RATE = Fraction(1, 5)


class Traffic(RuleBasedStateMachine):
    """Clients submit and hang up; workers start, progress, finish, fail and die."""

    preemption: PreemptionRules | None = None
    owners: tuple[str, ...] = ("",)
    bounds = UNBOUNDED
    unread = UNREAD

    @initialize(slots=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def create(self, slots: list[int]) -> None:
        self.runner = asyncio.Runner()
        self.pool = MemoryPool(*slots)
        self.clock = Clock()
        self.ends = Ends()
        self.dispatcher = Dispatcher(
            self.pool,
            float(RATE),
            self.clock,
            self.ends,
            shared_admission=SharedAdmission(self.bounds),
            preemption=self.preemption,
            unread=self.unread,
        )
        self.pool.attach(self.dispatcher)
        self.tickets: list[Ticket] = []
        self.sequences: dict[int, Sequence] = {}
        self.ticket_of: dict[int, Ticket] = {}
        """The ticket of each sequence."""
        self.tokens: dict[int, list[int]] = {}
        """Tokens that the workers told of each sequence while its client was there."""
        self.heard: dict[int, list[ClientEvent]] = {}
        """Events that the client of each ticket has taken so far."""
        self.deaths: dict[int, int] = {}
        self.died: list[tuple[int, set[int]]] = []
        """Deaths of workers that are not explained: the time, and the sequences."""
        self.first_death: dict[int, int] = {}
        self.overdue: dict[int, int] = {}
        """Time since which a parked sequence goes before all others."""
        self.task = self.runner.run(self._start())

    async def _start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.dispatcher.run())

    async def _settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    def key(self, sequence: Sequence) -> tuple[Fraction, int]:
        """The place in the queue; as in test_aging, where the heap meets its own oracle."""
        age = RATE * Fraction(sequence.arrived_ns, NANO)
        return age - Fraction(sequence.priority), sequence.id

    def expected(self, state: State) -> list[Sequence]:
        return [sequence for sequence in self.sequences.values() if sequence.state is state]

    # ------------------------------------------------------------------ clients

    @rule(
        priority=st.sampled_from([0.0, 0.5, 1.0, 2.0, 2.0, 9.0]),
        gap=st.integers(0, 9),
        n=st.sampled_from([1, 1, 1, 2, 3]),
        owner=st.integers(0, 9),
    )
    def submit(self, priority: float, gap: int, n: int, owner: int) -> None:
        self.clock.now += gap * NANO
        name = self.owners[owner % len(self.owners)]
        self.accept(job(priority, n=n, owner=name, size=30))

    def accept(self, job: Job) -> None:
        ticket = self.dispatcher.submit(job)
        self.tickets.append(ticket)
        self.heard[ticket.id] = []
        for sequence in ticket.sequences:
            self.sequences[sequence.id] = sequence
            self.ticket_of[sequence.id] = ticket
            self.tokens[sequence.id], self.deaths[sequence.id] = [], 0

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        ticket = self.tickets[pick % len(self.tickets)]
        had_ended, state = ticket.ended, ticket.state
        self.dispatcher.cancel(ticket)
        self.forget(ticket)
        assert ticket.state is (state if had_ended else State.CANCELLED)

    def forget(self, ticket: Ticket) -> None:
        for sequence in ticket.sequences:
            self.overdue.pop(sequence.id, None)

    # ------------------------------------------------------------------ the loop

    def in_order(self, waiting: list[Sequence]) -> list[Sequence]:
        """By key; but who was parked for as long as may be goes first."""
        overdue = [id_ for id_, since in self.overdue.items() if since <= self.clock.now]
        first = sorted(overdue, key=lambda id_: self.overdue[id_])
        rest = sorted((s for s in waiting if s.id not in overdue), key=self.key)
        return [self.sequences[id_] for id_ in first] + rest

    def suspects(self) -> list[Sequence]:
        """Return those that wait for a worker of their own, in the order of the key."""
        waiting = self.expected(State.WAITING)
        return sorted((s for s in waiting if self.deaths[s.id] >= MAX_DEATHS), key=self.key)

    def unsuspected(self) -> list[Sequence]:
        """Return those that wait for any free slot, in order."""
        suspects = self.suspects()
        return self.in_order([s for s in self.expected(State.WAITING) if s not in suspects])

    def behind(self, first: list[Sequence]) -> list[Sequence]:
        """Return those that get a free slot, in order, once the suspects ``first`` have theirs."""
        return self.unsuspected()

    def alone(self) -> Sequence | None:
        """The suspect that has a worker of its own, and no token yet."""
        request = self.pool.alone
        if request is None or request.id not in self.sequences:
            return None
        sequence = self.sequences[request.id]
        same = sequence.attempt == request.attempt and sequence.state is State.RUNNING
        return sequence if same and sequence.ids == request.resume else None

    @rule()
    def dispatch(self) -> None:
        """A suspect gets the worker kept for it; then every free credit goes by the key."""
        suspects = self.suspects()
        first: list[Sequence] = []
        if suspects and self.alone() is None and self.pool.reserve():
            first = suspects[:1]
        elif not suspects and self.alone() is None:
            self.pool.release()
        queue = self.behind(first)
        before, free = len(self.pool.submitted), self.pool.free()
        held, homes = [list(held) for held in self.pool.in_flight], dict(self.pool.homes)
        self.runner.run(self._settle())
        sent, expected = self.pool.submitted[before:], ids([*first, *queue[:free]])
        self.check_places(expected, held, homes)
        assert [request.id for request in sent[: len(expected)]] == expected
        self.check_last([request.id for request in sent[len(expected) :]])
        for request in sent:
            assert request.resume == self.tokens[request.id]
            self.overdue.pop(request.id, None)

    def check_last(self, sent: list[int]) -> None:
        """Nothing is sent after those that were ready."""
        assert sent == []

    def check_places(self, sent: list[int], held: list[list[int]], homes: dict[int, int]) -> None:
        """Each went where its cells are, else where most slots were free.

        ``held`` and ``homes`` say where generations ran and were parked before ``sent`` left.
        """
        for id_ in sent:
            (worker,) = (w for w, now in enumerate(self.pool.in_flight) if id_ in now)
            if worker != self.pool.reserved:
                slots = [w for w in enumerate(self.pool.slots) if w[0] != self.pool.reserved]
                free = {w: count - len(held[w]) for w, count in slots}
                most = {w for w, credits in free.items() if credits == max(free.values())}
                home = {homes[id_]} if id_ in homes else set()
                assert worker in ({w for w in home if free.get(w, 0) > 0} or most)
            homes.pop(id_, None)
            held[worker].append(id_)

    # ------------------------------------------------------------------ workers

    def pick(self, number: int) -> Sequence:
        running = sorted(self.pool.running())
        return self.sequences[running[number % len(running)]]

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99), tokens=st.integers(0, 3))
    def progress(self, pick: int, tokens: int) -> None:
        sequence = self.pick(pick)
        new = self.pool.progress(sequence.id, tokens)
        if not sequence.ended:
            self.tokens[sequence.id] += new
            if new:
                self.deaths[sequence.id] = 0

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def begin(self, pick: int) -> None:
        self.pool.begin(self.pick(pick).id)

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def finish(self, pick: int) -> None:
        sequence = self.pick(pick)
        had_ended = sequence.ended
        new = self.pool.finish(sequence.id)
        if not had_ended:
            self.tokens[sequence.id] += new
            assert sequence.state is State.FINISHED

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def fail(self, pick: int) -> None:
        sequence = self.pick(pick)
        had_ended = sequence.ended
        self.pool.fail(sequence.id)
        assert had_ended or self.ticket_of[sequence.id].state is State.FAILED
        assert had_ended or self.ticket_of[sequence.id].ended, "half an answer is none"
        self.forget(self.ticket_of[sequence.id])

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99), last=st.booleans())
    def echo(self, pick: int, last: bool) -> None:
        """A frame of an attempt that is over must change nothing."""
        sequence = self.pick(pick)
        attempt = sequence.attempt - 1
        event = Finished(sequence.id, attempt, "stop", [-1], "!") if last else None
        before = sequence.state
        self.dispatcher.on_event(event or Delta(sequence.id, attempt, [-1], "!"))
        assert sequence.state is before

    def guilty(self, id_: int) -> bool:
        """Return whether more died with it than by chance, as others die without it."""
        since = self.first_death[id_] - BEFORE_NS
        without = [present for at, present in self.died if at >= since and id_ not in present]
        return self.deaths[id_] > MAX_DEATHS + len(without)

    @rule(pick=st.integers(0, 9))
    def die(self, pick: int) -> None:
        running, alone = self.expected(State.RUNNING), self.alone()
        lost = self.pool.die(pick % len(self.pool.slots))
        self.died.append((self.clock.now, set(lost)))
        for sequence in running:
            if sequence.id in lost:
                if not self.deaths[sequence.id]:
                    self.first_death[sequence.id] = self.clock.now
                self.deaths[sequence.id] += 1
        # Only who was alone with a worker that died can be the killer; not if they die without it.
        killers = [s for s in running if s is alone and s.id in lost and self.guilty(s.id)]
        failed = {self.ticket_of[s.id] for s in killers}
        for killer in killers:
            since = self.first_death[killer.id] - BEFORE_NS
            self.died = [(at, who) for at, who in self.died if at < since or killer.id not in who]
        for sequence in running:
            if self.ticket_of[sequence.id] in failed:
                assert sequence.state is State.FAILED
                self.forget(self.ticket_of[sequence.id])
            else:
                assert sequence.state is (State.WAITING if sequence.id in lost else State.RUNNING)

    @precondition(lambda self: self.pool.running())
    @rule(pick=st.integers(0, 99))
    def die_again_and_again(self, pick: int) -> None:
        """By chance alone nobody would be suspected often enough to learn anything."""
        id_ = self.pick(pick).id
        for _ in range(MAX_DEATHS):
            for worker, held in enumerate(self.pool.in_flight):
                if id_ in held:
                    self.die(worker)
                    break
            self.dispatch()

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def books_agree(self) -> None:
        waiting, running = self.expected(State.WAITING), self.expected(State.RUNNING)
        assert self.dispatcher.stats.depth() == len(waiting)
        assert set(ids(self.dispatcher.stats.waiting())) == set(ids(waiting))
        assert sorted(s.id for _, s in self.dispatcher.stats.order()) == ids(waiting)
        assert self.dispatcher.stats.running() == len(running)
        killed = [s for s in waiting if self.deaths[s.id] >= MAX_DEATHS]
        keeps = self.alone() is not None or bool(killed)
        assert keeps or self.pool.reserved is None, "a worker is kept for nobody"
        # No job runs without a credit; a cancelled one holds its credit until the worker ends it.
        assert set(ids(running)) <= set(self.pool.running())
        ended = [ticket for ticket in self.tickets if ticket.ended]
        assert sorted(ids(self.ends.tickets)) == sorted(ids(ended))

    @invariant()
    def tokens_agree(self) -> None:
        for id_, sequence in self.sequences.items():
            assert sequence.ids == self.tokens[id_]

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.serve_the_rest()
        self.runner.run(self._check_channels())
        self.task.cancel()
        self.runner.close()

    def serve_the_rest(self) -> None:
        """No accepted job is forgotten: with working workers, all of them end."""
        for _ in range(2 * len(self.sequences) + 1):
            self.read_everything()
            self.dispatch()
            for _ in range(len(self.pool.running())):
                self.finish(0)
        assert all(ticket.ended for ticket in self.tickets)
        assert self.pool.free() == sum(self.pool.slots)
        self.runner.run(asyncio.wait_for(self.dispatcher.idle(), 1))
        for id_ in list(self.pool.asked_to_park):
            self.pool.asked_to_park.remove(id_)
        assert self.dispatcher.stats.leaks() == []

    def read_everything(self) -> None:
        """Clients that were slow catch up."""
        for ticket in self.tickets:
            self.take(ticket)

    def take(self, ticket: Ticket) -> None:
        """The client takes what there is; the dispatch loop does not turn meanwhile."""
        if ticket.unread:
            try:
                ticket.take().send(None)
            except StopIteration as done:
                self.heard[ticket.id] += done.value

    async def _check_channels(self) -> None:
        """Check that the client hears what was counted: no token lost, none twice."""
        for ticket in self.tickets:
            rest = [] if ticket.error and not ticket._events else await ticket.take(timeout=0)
            heard = [*self.heard[ticket.id], *rest]
            spoken = [e for e in heard if isinstance(e, Delta | Finished)]
            for sequence in ticket.sequences:
                own = [event for event in spoken if event.id == sequence.id]
                assert [id_ for event in own for id_ in event.ids] == sequence.ids
                ends = [event for event in own if isinstance(event, Finished)]
                assert len(ends) == (sequence.state is State.FINISHED)
