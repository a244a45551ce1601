"""Encoded media in host memory."""

from workers.media.cache import MediaCache
from workers.media.messages import Encoded, MediumRows, Words


def encoded(size: int) -> Encoded:
    return Encoded([Words([1, 2]), MediumRows(size // 4, size // 4, True, values=bytes(size))])


def test_the_least_recently_used_goes_first_and_its_layout_stays() -> None:
    cache = MediaCache(300)
    for name in "abc":
        cache.put(name, encoded(100))
    assert cache.get("a") is not None
    cache.put("d", encoded(100))
    assert [name for name in "abcd" if cache.get(name) is not None] == ["a", "c", "d"]
    assert cache.bytes == 300
    layout = cache.layout("b")
    assert layout is not None
    assert (layout.count, layout.size) == (27, 0)


def test_one_that_is_larger_than_all_is_not_kept() -> None:
    cache = MediaCache(300)
    cache.put("a", encoded(100))
    cache.put("huge", encoded(400))
    assert cache.get("a") is not None
    assert cache.get("huge") is None
    assert cache.layout("huge") is not None


def test_the_same_again_counts_once() -> None:
    cache = MediaCache(300)
    for _ in range(4):
        cache.put("a", encoded(100))
    assert cache.bytes == 100
