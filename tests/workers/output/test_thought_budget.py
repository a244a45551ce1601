"""The budget of a thought, against the plainest reading of what it should do."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.output.thought_budget import LONGEST_CHARACTER, ThoughtBudget

CLOSING = (7, 8, 9)


def anything(tokens: list[int]) -> bool:
    assert tuple(tokens) == CLOSING
    return True


def run(limit: int, opens: int | None, whole: Sequence[bool] = (), count: int = 20) -> list[int]:
    """Return an answer's tokens, 0 for a sampled one.

    ``opens``: how many of them there are before a thought opens; None: the prompt opened it.
    ``whole``: after which tokens of the thought its text ends with a whole character.
    """
    budget, found, thought = ThoughtBudget(limit, CLOSING), list[int](), 0
    open_ = opens is None
    budget.begin(thinking=open_, fits=anything)
    while len(found) < count:
        found.append(budget.due[0] if budget.due else 0)
        thought += open_ and not found[-1]
        open_ = (open_ or len(found) == opens) and CLOSING[-1] not in found
        ends = whole[thought - 1] if 0 < thought <= len(whole) else True
        budget.after(thinking=open_, whole=ends, fits=anything)
    return found


@given(limit=st.integers(0, 15), opens=st.none() | st.integers(1, 10))
def test_the_closing_tokens_follow_so_many_of_the_thought(limit: int, opens: int | None) -> None:
    before = (opens or 0) + limit
    wanted = [0] * before + [*CLOSING] + [0] * 20
    assert run(limit, opens) == wanted[:20], "and once only"


@pytest.mark.parametrize("torn", range(6))
def test_no_character_is_torn(torn: int) -> None:
    found = run(2, None, whole=[True, *[False] * torn])
    assert found.index(7) == 2 + min(torn, LONGEST_CHARACTER)


def test_a_call_that_has_begun_is_let_be() -> None:
    budget, fits = ThoughtBudget(0, CLOSING), False
    budget.begin(thinking=True, fits=lambda tokens: fits)
    for _ in range(5):
        budget.after(thinking=True, whole=True, fits=lambda tokens: fits)
        assert budget.due == ()
    fits = True
    budget.after(thinking=True, whole=True, fits=lambda tokens: fits)
    assert budget.due == CLOSING


def test_a_thought_that_ends_by_itself_is_let_be() -> None:
    budget = ThoughtBudget(2, CLOSING)
    budget.begin(thinking=True, fits=anything)
    budget.after(thinking=True, whole=True, fits=anything)
    for _ in range(5):
        budget.after(thinking=False, whole=True, fits=anything)
        assert budget.due == ()
