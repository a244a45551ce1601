"""The memory that large bodies take together."""

import pytest

from gateway.core.errors import Unavailable
from gateway.media.room import MediaRoom


def test_only_what_is_beyond_text_counts() -> None:
    room = MediaRoom()
    lease = room.lease(most=100, free=50)
    lease.cover(50)
    assert room.taken == 0
    lease.cover(120)
    lease.cover(60)
    assert room.taken == 70
    lease.add(10)
    assert room.taken == 80
    lease.give_back()
    lease.give_back()
    assert room.taken == 0


def test_one_that_is_too_many_comes_again() -> None:
    room = MediaRoom()
    first, second = room.lease(100, 0), room.lease(100, 0)
    first.cover(60)
    with pytest.raises(Unavailable) as caught:
        second.cover(41)
    assert caught.value.retry_after
    second.cover(40)
    assert room.taken == 100
    first.give_back()
    second.cover(100)
    assert room.taken == 100


def test_one_alone_has_what_it_may() -> None:
    room = MediaRoom()
    room.lease(100, 0).cover(150)
    assert room.taken == 150
