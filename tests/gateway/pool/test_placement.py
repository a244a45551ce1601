"""The choice of the worker that takes the next job."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pool.placement import USUAL_ANSWER, Offer, Reason, choose, neighbour
from workers.protocol import Generate, GenerationParams, Sampling, Text


def offers(free: dict[int, int]) -> list[Offer]:
    """Workers that have nothing of the prompt."""
    return [Offer(worker, credits) for worker, credits in free.items()]


FREE = st.dictionaries(st.integers(0, 100), st.integers(-2, 20))


@given(FREE, st.integers(1, 1000))
def test_most_free_credits_then_lowest_id(free: dict[int, int], neighbour: int) -> None:
    candidates = [worker for worker, credits in free.items() if credits > 0]
    if not candidates:
        assert choose(offers(free), neighbour) is None
        return
    most = max(free.values())
    expected = min(worker for worker in candidates if free[worker] == most)
    assert choose(offers(free), neighbour) == (expected, "load")


OFFER = st.builds(
    Offer,
    st.integers(0, 9),
    credits=st.integers(-1, 9),
    spared=st.integers(0, 5000),
    worth=st.floats(0, 5000),
    backlog=st.integers(0, 5000),
)
OFFERS = st.lists(OFFER, max_size=6, unique_by=lambda offer: offer.worker)


@given(OFFERS, st.integers(1, 1000), st.none() | st.integers(0, 12))
def test_nobody_waits_for_a_full_worker(
    offers: list[Offer], neighbour: int, home: int | None
) -> None:
    """And home comes before all others."""
    open_ = {offer.worker for offer in offers if offer.credits > 0}
    choice = choose(offers, neighbour, home)
    if home in open_:
        assert choice == (home, "home")
    elif choice is not None:
        assert choice[0] in open_
        assert choice == choose([*reversed(offers)], neighbour), "in any order"
    else:
        assert not open_


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        # Nobody has anything of it.
        (Offer(0, 3), Offer(1, 4), (1, "load")),
        (Offer(0, 4, backlog=101), Offer(1, 3), (1, "load")),
        (Offer(0, 4, backlog=99), Offer(1, 3), (0, "load")),
        # One has, and is as free.
        (Offer(0, 4), Offer(1, 4, 10, 10), (1, "prefix")),
        (Offer(0, 4, 20, 20), Offer(1, 4, 10, 10), (0, "prefix")),
        # One has, and is busier: each generation more counts like a hundred bytes.
        (Offer(0, 4), Offer(1, 3, 90, 90), (0, "spill")),
        (Offer(0, 4), Offer(1, 3, 110, 110), (1, "prefix")),
        (Offer(0, 8), Offer(1, 1, 690, 690), (0, "spill")),
        (Offer(0, 8), Offer(1, 1, 710, 710), (1, "prefix")),
        # Many use it at the same time.
        (Offer(0, 4), Offer(1, 3, 400, 80), (0, "spill")),
        # One has, and has others' prompts to compute.
        (Offer(0, 4), Offer(1, 4, 500, 500, backlog=490), (1, "prefix")),
        (Offer(0, 4), Offer(1, 4, 500, 500, backlog=510), (0, "spill")),
        # One has, and is full.
        (Offer(0, 1), Offer(1, 0, 5000, 5000), (0, "spill")),
        # Both have.
        (Offer(0, 3, 500, 500), Offer(1, 4, 500, 500), (1, "prefix")),
    ],
)
def test_what_is_spared_against_what_there_is_to_do(
    left: Offer, right: Offer, expected: tuple[int, Reason]
) -> None:
    assert choose([left, right], neighbour=100) == expected
    assert choose([right, left], neighbour=100) == expected


@given(OFFERS, st.integers(1, 1000), st.integers(0, 9))
def test_the_last_turns_worker_comes_first_among_equals_alone(
    offers: list[Offer], neighbour: int, last: int
) -> None:
    """Prefixes of its that are not known here are worth nothing beside those that are."""
    with_hint, without = choose(offers, neighbour, last=last), choose(offers, neighbour)
    if with_hint is None or without is None:
        assert with_hint == without
        return
    gain = {
        offer.worker: offer.worth - offer.backlog + neighbour * offer.credits for offer in offers
    }
    assert gain[with_hint[0]] == gain[without[0]]
    if with_hint[0] != without[0]:
        assert with_hint[0] == last


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (Offer(0, 4), Offer(1, 4), (1, "session")),
        (Offer(0, 4), Offer(1, 3), (0, "load")),  # the other is freer
        (Offer(0, 4), Offer(1, 4, backlog=1), (0, "load")),
        (Offer(0, 4, 9, 9), Offer(1, 4), (0, "prefix")),  # and has more of it
        (Offer(0, 4, 9, 9), Offer(1, 4, 9, 9), (1, "prefix")),
        (Offer(0, 1), Offer(1, 0), (0, "load")),
    ],
)
def test_a_conversation_that_is_not_known_by_its_bytes(
    left: Offer, right: Offer, expected: tuple[int, Reason]
) -> None:
    assert choose([left, right], neighbour=100, last=1) == expected


@pytest.mark.parametrize(
    ("max_tokens", "tokens"), [(None, USUAL_ANSWER), (10**6, USUAL_ANSWER), (7, 7), (0, 1)]
)
def test_a_neighbour_counts_like_the_answer_that_waits_for_it(
    max_tokens: int | None, tokens: int
) -> None:
    request = Generate(1, 1, Text("x"), GenerationParams(Sampling(1), max_tokens), 0.0)
    assert neighbour(request) == 4 * tokens


def test_adapters_gather_while_there_is_room() -> None:
    """A generation with other adapters costs as much again as its slot."""
    mates, strangers = Offer(0, 2), Offer(1, 2, strangers=2)
    assert choose([strangers, mates], 100) == (0, "load")
    assert choose([Offer(0, 1), Offer(1, 3, strangers=1)], 100) == (1, "load")
    assert choose([Offer(0, 0), Offer(1, 1, strangers=7)], 100) == (1, "load")
    near = Offer(1, 2, 900, 900.0, strangers=2)
    assert choose([mates, near], 100) == (1, "prefix"), "a long prefix is worth strangers"


@given(OFFERS, st.integers(1, 1000), st.integers(1, 9))
def test_strangers_never_attract(offers: list[Offer], neighbour: int, strangers: int) -> None:
    choice = choose(offers, neighbour)
    if choice is None:
        return
    others = [
        each if each.worker == choice[0] else replace(each, strangers=strangers) for each in offers
    ]
    again = choose(others, neighbour)
    assert again is not None
    assert again[0] == choice[0]
