"""Laws of captures: which are kept, which are found, which go first."""

import asyncio
from collections import Counter

import pytest

from gateway.core.errors import NotFound
from gateway.stored.captures import (
    OVERHEAD,
    CaptureBounds,
    CaptureFilter,
    StoredCapture,
    StoredCaptures,
)
from gateway.stored.ids import new_id
from gateway.stored.store import Store
from tests.support.store_laws.one_store import DAY, OneStore, Place

ALL = CaptureFilter()
ROOMY = CaptureBounds(1000, 1 << 30, DAY)


def captures_of(
    store: Store, number: int = ROOMY.number, size: int = ROOMY.bytes, age: float = ROOMY.age
) -> StoredCaptures:
    return StoredCaptures(store.database, store.clock, CaptureBounds(number, size, age))


def capture(
    store: Store, owner: str = "a", model: str = "m", status: int = 200, size: int = 10
) -> StoredCapture:
    outcome = "finished" if status == 200 else "failed"
    now = int(store.clock())
    bodies = bytes(size // 2), bytes(size - size // 2)
    return StoredCapture(new_id("cap_"), owner, model, status, outcome, now, b"", *bodies)


async def ids(rows: StoredCaptures, wanted: CaptureFilter = ALL) -> list[str]:
    """Return all ids, the newest first, by pages of two."""
    found: list[str] = []
    more, after = True, None
    while more:
        page, more = await rows.page(wanted, after, 2)
        found += [each.id for each in page]
        after = found[-1] if found else None
    return found


class CaptureLaws(OneStore):
    """To be inherited."""

    async def test_captures_are_found_the_newest_first(self, store: Store) -> None:
        rows = captures_of(store)
        made = [capture(store, size=at) for at in range(5)]
        await rows.insert(made[:3])
        await rows.insert(made[3:])
        assert await ids(rows) == [each.id for each in reversed(made)]
        found = await rows.get(made[4].id)
        assert (found.request, found.answer) == (bytes(2), bytes(2))
        (head,), _ = await rows.page(ALL, None, 1)
        assert (head.id, head.request, head.answer) == (made[4].id, b"", b"")

    async def test_captures_are_found_by_what_they_are(self, store: Store) -> None:
        rows = captures_of(store)
        one = capture(store, "a", "m\x00ü", 200)
        two = capture(store, "b", "n", 429)
        three = capture(store, "b", "m\x00ü", 503)
        await rows.insert([one, two, three])
        for wanted, found in [
            (CaptureFilter(key="b"), [three, two]),
            (CaptureFilter(model="m\x00ü"), [three, one]),
            (CaptureFilter(key="b", model="n"), [two]),
            (CaptureFilter(statuses=(429, 429)), [two]),
            (CaptureFilter(statuses=(400, 599)), [three, two]),
            (CaptureFilter(outcome="finished"), [one]),
            (CaptureFilter(key="c"), []),
        ]:
            assert await ids(rows, wanted) == [each.id for each in found]

    async def test_of_the_key_with_the_most_captures_the_oldest_goes(self, store: Store) -> None:
        rows = captures_of(store, number=6)
        quiet = [capture(store, "quiet") for _ in range(2)]
        await rows.insert(quiet)
        loud = [capture(store, "loud") for _ in range(50)]
        for each in loud:
            await rows.insert([each])
        assert await ids(rows) == [each.id for each in [*quiet, *loud[-4:]][::-1]]

    async def test_captures_are_bounded_in_bytes(self, store: Store) -> None:
        rows = captures_of(store, size=10 * (OVERHEAD + 1000))
        small = capture(store, "quiet", size=1000)
        await rows.insert([small])
        for number in range(30):
            await rows.insert([capture(store, "loud", size=1000 + number)])
        found, _ = await rows.page(ALL, None, 100)
        sizes = [(await rows.get(each.id)).size for each in found]
        assert 8 * (OVERHEAD + 1000) < sum(sizes) <= 10 * (OVERHEAD + 1000)
        assert small.id in [each.id for each in found]

    async def test_one_that_is_larger_than_all_room_does_not_stay(self, store: Store) -> None:
        rows = captures_of(store, size=5000)
        await rows.insert([capture(store, size=5000)])
        assert await ids(rows) == []

    async def test_old_captures_are_not_there(self, place: Place, store: Store) -> None:
        rows = captures_of(store, age=100)
        old = capture(store)
        await rows.insert([old])
        place.clock.now += 99
        assert await ids(rows) == [old.id]
        new = capture(store)
        await rows.insert([new])
        place.clock.now += 2
        assert await ids(rows) == [new.id]
        with pytest.raises(NotFound):
            await rows.get(old.id)
        await rows.sweep()
        place.clock.now -= 2  # what was swept is gone for good
        assert await ids(rows) == [new.id]

    async def test_a_sweep_keeps_bounds_that_have_changed(self, store: Store) -> None:
        made = [capture(store) for _ in range(5)]
        await captures_of(store).insert(made)
        fewer = captures_of(store, number=2)
        await fewer.sweep()
        assert await ids(fewer) == [made[4].id, made[3].id]

    async def test_captures_are_deleted(self, store: Store) -> None:
        rows = captures_of(store)
        made = [capture(store, owner) for owner in "aabbc"]
        await rows.insert(made)
        await rows.delete(made[0].id)
        for id_ in (made[0].id, "cap_nothing", "\x00", "x" * 100):
            with pytest.raises(NotFound):
                await rows.delete(id_)
            with pytest.raises(NotFound):
                await rows.get(id_)
            with pytest.raises(NotFound):
                await rows.page(ALL, id_, 1)
        assert await rows.delete_all(CaptureFilter(key="b")) == 2
        assert await ids(rows) == [made[4].id, made[1].id]
        assert await rows.delete_all(ALL) == 2
        assert await ids(rows) == []

    async def test_several_that_write_keep_the_bound(self, store: Store) -> None:
        rows = captures_of(store, number=10)
        many = [[capture(store, owner) for _ in range(7)] for owner in "abcd" * 3]
        await asyncio.gather(*(rows.insert(each) for each in many))
        found, _ = await rows.page(ALL, None, 100)
        counts = Counter(each.owner for each in found)
        assert len(found) == 10
        assert max(counts.values()) - min(counts.values()) <= 1
