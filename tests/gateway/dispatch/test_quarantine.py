"""Sequences that are suspected of killing workers, or given up, and what the others notice."""

import asyncio

import pytest

from gateway.core.errors import Unavailable, WorkerFailed
from gateway.dispatch.quarantine import MAX_DEATHS
from gateway.dispatch.sequence import State
from tests.support.desk import Desk


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
        assert desk.dispatcher.stats.depth() == desk.dispatcher.stats.running() == 0
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
