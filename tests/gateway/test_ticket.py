"""The life of a ticket: what may follow what, and the channel to the client."""

import asyncio
import itertools

import pytest

from gateway.errors import ForgeError, Unavailable, WorkerFailed
from gateway.ticket import TRANSITIONS, IllegalMove, Move, State, Ticket
from tests.gateway.memory_pool import job
from workers.protocol import Chat, Delta, Finished, Sampling, Started

ENDS = {State.FINISHED, State.FAILED, State.CANCELLED}
LEGAL = {
    (State.WAITING, Move.DISPATCH): State.RUNNING,
    (State.WAITING, Move.FAIL): State.FAILED,
    (State.WAITING, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.REQUEUE): State.WAITING,
    (State.RUNNING, Move.FINISH): State.FINISHED,
    (State.RUNNING, Move.FAIL): State.FAILED,
    (State.RUNNING, Move.CANCEL): State.CANCELLED,
}


def ticket(state: State = State.WAITING) -> Ticket:
    made = Ticket(5, job(), arrived_ns=0)
    made.state = state
    return made


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_every_move_from_every_state(state: State, move: Move) -> None:
    moved = ticket(state)
    if (state, move) in LEGAL:
        moved.move(move)
        assert moved.state is LEGAL[state, move]
    else:
        with pytest.raises(IllegalMove, match=rf"{move.name} of ticket 5 in {state.name}"):
            moved.move(move)
        assert moved.state is state
    assert moved.ended == (moved.state in ENDS)


def test_ends_are_final() -> None:
    """Whatever path leads to an end, nothing leads out of it: a ticket ends exactly once."""
    assert {state for state, _ in TRANSITIONS}.isdisjoint(ENDS)
    assert set(TRANSITIONS.values()) - {state for state, _ in TRANSITIONS} == ENDS


def test_failing_an_ended_ticket_changes_nothing() -> None:
    ended = ticket(State.CANCELLED)
    with pytest.raises(IllegalMove):
        ended.fail(Unavailable("late"))
    assert ended.error is None
    assert not ended.pending


def test_generate_carries_the_job_and_what_came_so_far() -> None:
    made = Ticket(9, job(max_tokens=40, stop=("a", "b"), ignore_eos=True), arrived_ns=0)
    made.attempt, made.ids = 2, [11, 12]
    request = made.generate()
    assert (request.id, request.attempt, request.resume) == (9, 2, [11, 12])
    assert (request.max_tokens, request.stop, request.ignore_eos) == (40, ["a", "b"], True)
    assert request.prompt == Chat([{"role": "user", "content": "hello"}])
    assert (request.sampling, request.now) == (Sampling(seed=1), 1.5e9)
    made.ids.append(13)
    assert request.resume == [11, 12], "a sent request must not change"


def test_request_ids_are_distinct_and_not_countable() -> None:
    names = {Ticket(1, job(), 0).request_id for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 24 for name in names)


# ------------------------------------------------------------------ the channel

STARTED, DELTA, FINISHED = (
    Started(5, 1, 3, 0),
    Delta(5, 1, [1], "a"),
    Finished(5, 1, "stop", [], ""),
)


def test_take_gives_everything_at_once_and_in_order() -> None:
    async def main() -> None:
        channel = ticket()
        for event in (STARTED, DELTA, FINISHED):
            channel.deliver(event)
        assert channel.pending
        assert await channel.take() == [STARTED, DELTA, FINISHED]
        assert not channel.pending

    asyncio.run(main())


def test_take_times_out_with_nothing() -> None:
    async def main() -> None:
        channel = ticket()
        assert await channel.take(timeout=0) == []
        channel.deliver(DELTA)
        assert await channel.take(timeout=0) == [DELTA]
        # What was taken is not given again, and the old wake-up does not count.
        assert await channel.take(timeout=0) == []

    asyncio.run(main())


def test_take_wakes_for_an_event() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take())
        for _ in range(3):
            await asyncio.sleep(0)
            assert not reader.done()
        channel.deliver(STARTED)
        channel.deliver(DELTA)
        assert await reader == [STARTED, DELTA]

    asyncio.run(main())


def test_take_wakes_for_an_error() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take())
        await asyncio.sleep(0)
        channel.fail(WorkerFailed("broken"))
        with pytest.raises(WorkerFailed, match="broken"):
            await reader

    asyncio.run(main())


def test_events_come_before_the_error() -> None:
    """What was computed before the failure still reaches the client."""

    async def main() -> None:
        channel = ticket(State.RUNNING)
        channel.deliver(DELTA)
        error = WorkerFailed("broken")
        channel.fail(error)
        assert await channel.take() == [DELTA]
        assert channel.pending
        for _ in range(2):  # asking again does not hang
            with pytest.raises(ForgeError) as caught:
                await channel.take()
            assert caught.value is error

    asyncio.run(main())


def test_take_that_was_given_up_loses_nothing() -> None:
    async def main() -> None:
        channel = ticket()
        reader = asyncio.create_task(channel.take())
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        channel.deliver(DELTA)
        assert await channel.take() == [DELTA]

    asyncio.run(main())
