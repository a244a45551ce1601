"""The life of a sequence: what may follow what."""

import itertools

import pytest

from gateway.dispatch.sequence import TRANSITIONS, IllegalMove, Move, Sequence, State
from gateway.dispatch.ticket import Ticket
from tests.support.memory_pool import job, only
from workers.protocol import Chat, Delta, Sampling

ENDS = {State.FINISHED, State.FAILED, State.CANCELLED}
LEGAL = {
    (State.WAITING, Move.DISPATCH): State.RUNNING,
    (State.WAITING, Move.FAIL): State.FAILED,
    (State.WAITING, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.REQUEUE): State.WAITING,
    (State.RUNNING, Move.PAUSE): State.PAUSED,
    (State.PAUSED, Move.REQUEUE): State.WAITING,
    (State.PAUSED, Move.FAIL): State.FAILED,
    (State.PAUSED, Move.CANCEL): State.CANCELLED,
    (State.RUNNING, Move.FINISH): State.FINISHED,
    (State.RUNNING, Move.FAIL): State.FAILED,
    (State.RUNNING, Move.CANCEL): State.CANCELLED,
}


def sequence(state: State) -> Sequence:
    made = only(Ticket(5, job(), arrived_ns=0))
    made.state = state
    return made


@pytest.mark.parametrize(("state", "move"), list(itertools.product(State, Move)))
def test_every_move_from_every_state(state: State, move: Move) -> None:
    moved = sequence(state)
    if (state, move) in LEGAL:
        moved.move(move)
        assert moved.state is LEGAL[state, move]
    else:
        with pytest.raises(IllegalMove, match=rf"{move.name} of sequence 5 in {state.name}"):
            moved.move(move)
        assert moved.state is state
    assert moved.ended == (moved.state in ENDS)


def test_ends_are_final() -> None:
    """Whatever path leads to an end, nothing leads out of it: a sequence ends exactly once."""
    assert {state for state, _ in TRANSITIONS}.isdisjoint(ENDS)
    assert set(TRANSITIONS.values()) - {state for state, _ in TRANSITIONS} == ENDS


def test_generate_carries_the_job_and_what_came_so_far() -> None:
    made = only(Ticket(9, job(max_tokens=40, stop=("a", "b"), ignore_eos=True), arrived_ns=0))
    made.attempt, made.ids = 2, [11, 12]
    request = made.generate(0.0, 0)
    assert (request.id, request.attempt, request.resume) == (9, 2, [11, 12])
    params = request.params
    assert (params.max_tokens, params.stop, params.ignore_eos) == (40, ("a", "b"), True)
    assert params is made.job.params, "one value from the body to the wire, no copy"
    assert request.prompt == Chat([{"role": "user", "content": "hello"}])
    assert (params.sampling, request.now) == (Sampling(seed=1), 1.5e9)
    made.ids.append(13)
    assert request.resume == [11, 12], "a sent request must not change"


def test_a_limit_of_time_goes_on_where_the_first_token_came() -> None:
    """And only such a job tells its time: the others' requests are as short as they were."""
    token = Delta(9, 1, [11], "x")
    for limit, spent in ((0, 0.0), (500, 2.5)):
        made = only(Ticket(9, job(line_limit_ms=limit), arrived_ns=0))
        assert made.generate(0.0, 10**9).spent_ms == 0.0
        made.count(token, 10**9)
        assert made.generate(0.0, 10**9 + 2_500_000).spent_ms == spent
