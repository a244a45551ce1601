from hypothesis import given
from hypothesis import strategies as st

from gateway.batches.window import OwnerLines, divided


def owner(name: str, *batches: tuple[str, int], weight: float = 1, open: int = 0) -> OwnerLines:
    return OwnerLines(name, weight, open, 10**6, list(batches))


def test_a_hundred_batches_have_no_more_than_one() -> None:
    many = owner("many", *((f"m{number}", 1000) for number in range(100)))
    found = divided(16, [many, owner("one", ("o", 1000))])
    assert found == {"m0": 8, "o": 8}


def test_what_is_in_flight_counts() -> None:
    assert divided(4, [owner("a", ("a", 9), open=6), owner("b", ("b", 9), open=2)]) == {"b": 4}


def test_weights() -> None:
    assert divided(12, [owner("a", ("a", 99), weight=3), owner("b", ("b", 99))]) == {"a": 9, "b": 3}


def test_places_that_one_owner_does_not_need_are_for_the_other() -> None:
    assert divided(8, [owner("a", ("a", 1)), owner("b", ("b1", 2), ("b2", 9))]) == {
        "a": 1,
        "b1": 2,
        "b2": 5,
    }


def test_an_owner_that_must_wait_has_none() -> None:
    slow = OwnerLines("slow", 1, 0, 0, [("s", 9)])
    assert divided(4, [slow, owner("b", ("b", 9))]) == {"b": 4}
    assert divided(4, [OwnerLines("slow", 1, 1, 2, [("s", 9)])]) == {"s": 1}


@given(
    st.integers(-3, 40),
    st.lists(
        st.tuples(
            st.floats(0.001, 1000), st.integers(0, 9), st.integers(0, 30), st.integers(0, 30)
        ),
        max_size=6,
    ),
)
def test_no_place_is_lost_and_none_given_twice(
    places: int, rows: list[tuple[float, int, int, int]]
) -> None:
    owners = [
        OwnerLines(str(at), weight, open, allowed, [(str(at), rest)])
        for at, (weight, open, allowed, rest) in enumerate(rows)
    ]
    room = sum(min(rest, max(0, allowed - open)) for _, open, allowed, rest in rows)
    found = divided(places, owners)
    assert found.total() == min(max(0, places), room)
    for at, (_, open, allowed, rest) in enumerate(rows):
        assert found[str(at)] <= min(rest, max(0, allowed - open))
