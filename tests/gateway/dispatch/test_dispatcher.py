"""The dispatcher on a pool in memory: one test for each promise."""

import asyncio
import gc
import weakref

import pytest

from gateway.core.clock import NANO
from gateway.core.errors import Unavailable, WorkerFailed
from gateway.dispatch.sequence import State
from tests.support.desk import Desk
from tests.support.memory_pool import only
from workers.protocol import Delta, Finished, Started


def test_late_binding() -> None:
    """Jobs that come while no credit is free are still ordered by priority."""
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
        order = list(desk.dispatcher.stats.order())
        assert [sequence.ticket_id for _, sequence in order] == [normal.id, urgent.id]
        effective = [desk.dispatcher.stats.effective(place, desk.clock.now) for place, _ in order]
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
        assert desk.dispatcher.stats.running() == 0
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
        assert (len(first), only(ticket).first_ids, ticket.later_tokens) == (2, 2, len(last))
        assert [ticket.dispatched_ns, ticket.first_token_ns, ticket.ended_ns] == [0, 20, 30]
        assert desk.metered == [(2, None), (len(last), 10)], "no token, nothing to measure"
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
        assert desk.dispatcher.stats.failovers == 1
        await desk.settle()
        # With its old key it comes before whoever arrived after it.
        again = desk.pool.submitted[-1]
        assert (again.id, again.attempt, again.resume) == (first.id, 2, tokens)
        assert (again.params, again.now, again.prompt) == (lost.params, lost.now, lost.prompt)
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
        assert not desk.dispatcher.is_idle

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
        assert desk.dispatcher.stats.waiting() == []

    desk.run(script)


def test_what_has_ended_is_freed_at_once() -> None:
    """By reference counts: a full queue's prompts must not wait for the garbage collector."""
    desk = Desk(2)

    async def script() -> None:
        tickets = [desk.submit(priority) for priority in (0, 1, 2) for _ in range(20)]
        references = [weakref.ref(ticket) for ticket in tickets]
        desk.dispatcher.cancel(tickets[-1])
        while desk.dispatcher.stats.depth() or desk.pool.running():
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
