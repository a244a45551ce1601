"""The memory that large bodies take together."""

import pytest

from gateway.core.errors import Unavailable
from gateway.media.room import MediaRoom


def test_only_what_is_beyond_text_counts() -> None:
    room = MediaRoom()
    lease = room.lease(most=200, free=50)
    lease.cover(50)
    assert room.taken.total() == 0
    lease.cover(120)
    lease.cover(60)
    assert room.taken.total() == 70
    lease.add(10)
    assert room.taken.total() == 80
    lease.give_back()
    lease.give_back()
    assert room.taken == {}


def test_what_is_only_said_takes_nothing() -> None:
    room = MediaRoom()
    first, second = room.lease(100, 0, "a"), room.lease(100, 0, "b")
    first.check(90)
    second.cover(90)
    with pytest.raises(Unavailable):
        first.check(90)
    assert room.taken.total() == 90


def test_one_that_is_too_many_comes_again() -> None:
    room = MediaRoom()
    first, second = room.lease(100, 0, "a"), room.lease(100, 0, "b")
    first.cover(60)
    with pytest.raises(Unavailable) as caught:
        second.cover(41)
    assert caught.value.retry_after
    second.cover(40)
    assert room.taken.total() == 100
    first.give_back()
    second.cover(100)
    assert room.taken.total() == 100


def test_one_alone_has_what_it_may() -> None:
    room = MediaRoom()
    room.lease(100, 0).cover(150)
    assert room.taken.total() == 150


def test_an_owner_leaves_half_to_others() -> None:
    room = MediaRoom()
    first, second, third = (room.lease(100, 0, owner) for owner in ("a", "a", "b"))
    first.cover(30)
    second.cover(20)
    with pytest.raises(Unavailable):
        second.cover(21)
    third.cover(50)
