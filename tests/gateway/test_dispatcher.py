"""The dispatcher on a pool in memory: one test for each promise."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.aging import NANO
from gateway.dispatcher import Dispatcher
from gateway.errors import Unavailable, WorkerFailed
from gateway.quarantine import MAX_DEATHS
from gateway.sequence import State
from gateway.ticket import Ticket
from tests.gateway.memory_pool import Clock, Ends, MemoryPool, ids, job, only
from workers.protocol import Delta, Finished, Started


class Desk:
    """A dispatcher with its loop running, and everything around it."""

    def __init__(self, *slots: int, rate: float = 0.2) -> None:
        self.pool = MemoryPool(*slots)
        self.clock = Clock()
        self.ends = Ends()
        self.dispatcher = Dispatcher(self.pool, rate, self.clock, self.ends)
        self.pool.attach(self.dispatcher)

    def submit(self, priority: float = 1.0) -> Ticket:
        return self.dispatcher.submit(job(priority))

    async def settle(self) -> list[int]:
        """Let the loop do what it can; the ids that reached a worker so far."""
        for _ in range(3):
            await asyncio.sleep(0)
        return [request.id for request in self.pool.submitted]

    def run(self, script: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            loop = asyncio.create_task(self.dispatcher.run())
            await script()
            assert not loop.done(), "the dispatch loop must outlive everything"
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

        asyncio.run(main())
        assert len(self.ends.tickets) == len(set(ids(self.ends.tickets))), "ended twice"


def test_late_binding() -> None:
    """Who comes while no credit is free is still ordered by priority."""
    desk = Desk(1)

    async def script() -> None:
        running = desk.submit()
        await desk.settle()
        normal, urgent = desk.submit(1), desk.submit(2)
        assert await desk.settle() == [running.id]
        desk.pool.finish(running.id)
        assert await desk.settle() == [running.id, urgent.id]
        desk.pool.finish(urgent.id)
        assert await desk.settle() == [running.id, urgent.id, normal.id]

    desk.run(script)


def test_aged_job_goes_before_a_fresh_urgent_one() -> None:
    desk = Desk(1)

    async def script() -> None:
        running = desk.submit()
        await desk.settle()
        normal = desk.submit(1)
        desk.clock.now = 5 * NANO + 1
        urgent = desk.submit(2)
        order = list(desk.dispatcher.order())
        assert [sequence.ticket for _, sequence in order] == [normal, urgent]
        effective = [desk.dispatcher.effective(place, desk.clock.now) for place, _ in order]
        assert effective == [pytest.approx(2.0), 2.0]
        desk.pool.finish(running.id)
        assert await desk.settle() == [running.id, normal.id]
        assert normal.dispatched_ns == 5 * NANO + 1

    desk.run(script)


def test_cancelled_while_waiting_never_reaches_a_worker() -> None:
    desk = Desk(1)

    async def script() -> None:
        running, gone, stays = desk.submit(), desk.submit(), desk.submit()
        await desk.settle()
        desk.dispatcher.cancel(gone)
        desk.dispatcher.cancel(gone)  # a second time does nothing
        assert gone.state is State.CANCELLED
        assert desk.ends.tickets == [gone]
        desk.pool.finish(running.id)
        assert await desk.settle() == [running.id, stays.id]
        assert desk.pool.cancelled == []

    desk.run(script)


def test_credit_of_a_cancelled_job_comes_back_with_its_end() -> None:
    """The worker may still be in a long step: until it says so, its slot is taken."""
    desk = Desk(1)

    async def script() -> None:
        running, waiting = desk.submit(), desk.submit()
        await desk.settle()
        desk.dispatcher.cancel(running)
        assert desk.pool.cancelled == [running.id]
        assert desk.dispatcher.running() == 0
        assert await desk.settle() == [running.id]
        desk.pool.progress(running.id)  # what it still says reaches nobody
        assert not running.pending
        assert only(running).ids == []
        desk.pool.finish(running.id, "cancelled")
        assert await desk.settle() == [running.id, waiting.id]
        assert desk.ends.tickets == [running]

    desk.run(script)


def test_events_reach_the_client_and_the_books() -> None:
    desk = Desk(1)

    async def script() -> None:
        ticket = desk.submit()
        await desk.settle()
        desk.clock.now = 10
        desk.pool.begin(ticket.id)
        assert ticket.first_token_ns is None, "a start is no token"
        desk.clock.now = 20
        first = desk.pool.progress(ticket.id, 2)
        desk.clock.now = 30
        desk.pool.progress(ticket.id, 0)
        last = desk.pool.finish(ticket.id, "length")
        assert only(ticket).ids == first + last
        assert [ticket.dispatched_ns, ticket.first_token_ns, ticket.ended_ns] == [0, 20, 30]
        events = await ticket.take()
        assert [type(event) for event in events] == [Started, Delta, Delta, Finished]
        assert ticket.state is State.FINISHED
        desk.dispatcher.cancel(ticket)  # the client's connection closes: too late to matter
        assert ticket.state is State.FINISHED

    desk.run(script)


def test_worker_failure_reaches_its_request_alone() -> None:
    desk = Desk(2)

    async def script() -> None:
        bad, good = desk.submit(), desk.submit()
        await desk.settle()
        desk.pool.fail(bad.id)
        with pytest.raises(WorkerFailed):
            await bad.take()
        desk.pool.finish(good.id)
        assert (bad.state, good.state) == (State.FAILED, State.FINISHED)

    desk.run(script)


def test_lost_job_goes_on_elsewhere_where_it_stopped() -> None:
    desk = Desk(1, 1)

    async def script() -> None:
        first, second = desk.submit(), desk.submit()
        await desk.settle()
        late = desk.submit()
        desk.pool.begin(first.id)
        tokens = desk.pool.progress(first.id, 3)
        lost = desk.pool.submitted[0]
        assert desk.pool.die(0) == [first.id]
        assert first.state is State.WAITING
        await desk.settle()
        # With its old key it comes before whoever arrived after it.
        again = desk.pool.submitted[-1]
        assert (again.id, again.attempt, again.resume) == (first.id, 2, tokens)
        assert (again.sampling, again.now, again.prompt) == (lost.sampling, lost.now, lost.prompt)
        desk.pool.begin(first.id)  # the client hears of one start only
        tokens += desk.pool.finish(first.id)
        assert only(first).ids == tokens
        events = await first.take()
        assert [type(event) for event in events] == [Started, Delta, Finished]
        assert await desk.settle() == [first.id, second.id, first.id, late.id]

    desk.run(script)


def test_events_of_an_older_attempt_are_ignored() -> None:
    desk = Desk(1)

    async def script() -> None:
        ticket = desk.submit()
        await desk.settle()
        desk.pool.die(0)
        await desk.settle()
        for echo in (
            Started(ticket.id, 1, 7, 0),
            Delta(ticket.id, 1, [666], "x"),
            Finished(ticket.id, 1, "stop", [666], "x"),
        ):
            desk.dispatcher.on_event(echo)
        assert ticket.state is State.RUNNING
        assert only(ticket).ids == []
        assert not ticket.pending
        desk.dispatcher.on_event(Delta(4711, 1, [1], "x"))  # nobody's

    desk.run(script)


async def kill(desk: Desk, worker: int = 0, times: int = MAX_DEATHS) -> None:
    for _ in range(times):
        await desk.settle()
        desk.pool.die(worker)
    await desk.settle()


def test_job_that_kills_its_workers_is_given_up() -> None:
    desk = Desk(1)

    async def script() -> None:
        ticket = desk.submit()
        await kill(desk, times=MAX_DEATHS - 1)
        desk.pool.progress(ticket.id)  # a token in between: not the killer
        await kill(desk)
        assert not ticket.ended, "suspected, and alone now"
        assert desk.pool.alone is not None
        desk.pool.die(0)
        assert ticket.state is State.FAILED
        assert len(await ticket.take()) == 1
        with pytest.raises(WorkerFailed, match=f"{MAX_DEATHS + 1} workers died"):
            await ticket.take()
        assert desk.dispatcher.depth() == desk.dispatcher.running() == 0
        assert desk.pool.reserved is None
        await asyncio.wait_for(desk.dispatcher.idle(), 1)

    desk.run(script)


def test_of_those_who_died_together_only_the_killer_fails() -> None:
    """Each runs alone once, in the order of the key; who gives a token then is clear."""
    desk = Desk(3)

    async def script() -> None:
        first, killer, third = (desk.submit() for _ in range(3))
        await kill(desk)
        assert list(desk.pool.running()) == [first.id]
        desk.pool.progress(first.id)
        assert desk.pool.asked_to_park == [first.id], "it makes way for the next suspect"
        desk.pool.yield_slot(first.id)
        await desk.settle()
        assert list(desk.pool.running()) == [killer.id]
        later = desk.submit()
        await desk.settle()
        assert later.state is first.state is State.WAITING, "the only worker is kept"
        desk.pool.die(0)
        await desk.settle()
        assert killer.state is State.FAILED
        assert list(desk.pool.running()) == [third.id]
        desk.pool.progress(third.id)
        await desk.settle()
        assert list(desk.pool.running()) == [third.id, first.id, later.id], "nobody is suspected"

    desk.run(script)


def test_the_others_go_on_beside_a_suspect() -> None:
    """One worker is kept for it and emptied first; the rest of the pool serves everybody."""
    desk = Desk(1, 2)

    async def script() -> None:
        suspect = desk.submit()
        others = [desk.submit() for _ in range(2)]
        await desk.settle()
        worker = next(w for w, held in enumerate(desk.pool.in_flight) if suspect.id in held)
        await kill(desk, worker)
        assert desk.pool.alone is not None
        assert desk.pool.alone.id == suspect.id
        for _ in range(20):
            others.append(desk.submit())
            await desk.settle()
            running = next(id_ for id_ in desk.pool.running() if id_ != suspect.id)
            desk.pool.finish(running)
            await desk.settle()
        assert sum(other.state is State.FINISHED for other in others) == 20
        assert desk.pool.in_flight[desk.pool.reserved or 0] == {suspect.id: desk.pool.alone}

    desk.run(script)


def test_where_workers_die_without_it_too_nobody_is_proven() -> None:
    """Random kills poison nothing: each death without the suspect speaks for it."""
    desk = Desk(1, 1)

    async def script() -> None:
        suspect = desk.submit()
        for _ in range(20):
            await desk.settle()
            desk.pool.die(next(w for w, held in enumerate(desk.pool.in_flight) if held))
            desk.pool.die(next(w for w, held in enumerate(desk.pool.in_flight) if not held))
        assert not suspect.ended
        for _ in range(MAX_DEATHS + 1):  # from now on it is only its own
            assert not suspect.ended
            await desk.settle()
            desk.pool.die(desk.pool.reserved or 0)
        assert suspect.ended

    desk.run(script)


def test_suspect_whose_client_goes_keeps_no_worker() -> None:
    desk = Desk(2)

    async def script() -> None:
        suspects = [desk.submit() for _ in range(2)]
        await kill(desk)
        waiting = next(t for t in suspects if t.state is State.WAITING)
        running = next(t for t in suspects if t.state is State.RUNNING)
        desk.dispatcher.cancel(waiting)
        assert desk.pool.reserved is not None
        desk.dispatcher.cancel(running)
        assert desk.pool.reserved is None
        later = [desk.submit() for _ in range(2)]
        await desk.settle()
        assert [t.state for t in later].count(State.RUNNING) == 1, "one slot is still winding up"
        desk.pool.finish(running.id, "cancelled")
        await desk.settle()
        assert [t.state for t in later] == [State.RUNNING] * 2

    desk.run(script)


def test_trouble_is_told_to_all_and_passes() -> None:
    desk = Desk(1)

    async def script() -> None:
        tickets = [desk.submit() for _ in range(3)]
        await desk.settle()
        desk.pool.die(0)
        desk.pool.trouble = "no worker can be started: no memory"
        desk.dispatcher.on_trouble(desk.pool.trouble)
        for ticket in tickets:
            with pytest.raises(Unavailable, match="no memory"):
                await ticket.take()
        with pytest.raises(Unavailable, match="no memory"):
            desk.submit()
        desk.pool.trouble = None
        last = desk.submit()
        await desk.settle()
        desk.pool.finish(last.id)
        assert last.state is State.FINISHED

    desk.run(script)


def test_drain_finishes_what_was_accepted() -> None:
    desk = Desk(1)

    async def script() -> None:
        first, second = desk.submit(), desk.submit()
        await desk.settle()
        desk.dispatcher.drain()
        assert desk.dispatcher.draining
        assert desk.pool.draining
        with pytest.raises(Unavailable) as refused:
            desk.submit()
        assert refused.value.retry_after
        idle = asyncio.create_task(desk.dispatcher.idle())
        for ticket in (first, second):
            await desk.settle()
            assert not idle.done()
            desk.pool.finish(ticket.id)
        await asyncio.wait_for(idle, 1)
        assert desk.ends.tickets == [first, second]

    desk.run(script)


def test_idle_before_the_first_job() -> None:
    desk = Desk(1)

    async def script() -> None:
        await asyncio.wait_for(desk.dispatcher.idle(), 1)
        desk.submit()
        assert not desk.dispatcher._idle.is_set()

    desk.run(script)


def test_abandon_ends_everything() -> None:
    desk = Desk(1)

    async def script() -> None:
        running, waiting = desk.submit(), desk.submit()
        await desk.settle()
        desk.dispatcher.drain()
        desk.dispatcher.abandon("time is up")
        for ticket in (running, waiting):
            with pytest.raises(Unavailable, match="time is up"):
                await ticket.take()
        assert desk.pool.cancelled == [running.id]
        await asyncio.wait_for(desk.dispatcher.idle(), 1)
        desk.pool.finish(running.id, "cancelled")
        assert await desk.settle() == [running.id]
        assert desk.dispatcher.waiting() == []

    desk.run(script)


def test_what_has_ended_is_freed_at_once() -> None:
    """By reference counts: a full queue's prompts must not wait for the garbage collector."""
    desk = Desk(2)

    async def script() -> None:
        tickets = [desk.submit(priority) for priority in (0, 1, 2) for _ in range(20)]
        references = [weakref.ref(ticket) for ticket in tickets]
        desk.dispatcher.cancel(tickets[-1])
        while desk.dispatcher.depth() or desk.pool.running():
            await desk.settle()
            for id_ in list(desk.pool.running()):
                desk.pool.finish(id_)
        desk.ends.tickets.clear()
        tickets.clear()
        await desk.settle()
        assert sum(reference() is not None for reference in references) == 0

    gc.disable()
    try:
        desk.run(script)
    finally:
        gc.enable()
