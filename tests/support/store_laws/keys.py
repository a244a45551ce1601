"""Laws of API keys in a store."""

from collections.abc import Sequence

import pytest

from gateway.core.errors import KeyExists, LastAdmin, NotFound, QuotaExceeded
from gateway.stored import key_rows
from gateway.stored.key_rows import KeyRow, KeyRows
from gateway.stored.store import Store
from tests.support.store_laws.one_store import OneStore, Place


def rows(store: Store) -> KeyRows:
    return KeyRows(store.database, store.clock)


def always(keys: Sequence[KeyRow]) -> None:
    """Allow any set."""


def never(keys: Sequence[KeyRow]) -> None:
    raise LastAdmin("no")


class KeyLaws(OneStore):
    """To be inherited."""

    async def test_keys_come_change_and_go(self, store: Store, place: Place) -> None:
        keys = rows(store)
        assert await keys.all() == (0, [])
        now = int(place.clock())
        await keys.add("b", b"2", b"{}")
        found = await keys.add("a", b"1", b'{"admin":true}')
        one, two = (
            KeyRow("a", b"1", b'{"admin":true}', now, now),
            KeyRow("b", b"2", b"{}", now, now),
        )
        assert found == await keys.all() == (2, [one, two])
        with pytest.raises(KeyExists):
            await keys.add("a", b"3", b"{}")
        assert await keys.revision() == 2
        place.clock.now += 5
        changed = await keys.change("a", always, digest=b"4")
        assert changed.rows[0] == KeyRow("a", b"4", b'{"admin":true}', now, now + 5)
        assert (await keys.remove("a", always)).rows == [two]
        for lost in (keys.remove("a", always), keys.change("a", always, rights=b"{}")):
            with pytest.raises(NotFound):
                await lost
        assert await keys.remove("b", always) == (5, [])
        assert await keys.all() == (5, []), "a store that had a key says so"

    async def test_a_change_that_must_not_be_is_undone(self, store: Store) -> None:
        keys = rows(store)
        before = await keys.add("a", b"1", b"{}")
        for refused in (keys.remove("a", never), keys.change("a", never, digest=b"2")):
            with pytest.raises(LastAdmin):
                await refused
        assert await keys.all() == before

    async def test_there_is_a_most(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(key_rows, "MOST", 2)
        keys = rows(store)
        for name in ("a", "b"):
            await keys.add(name, name.encode(), b"{}")
        with pytest.raises(QuotaExceeded):
            await keys.add("c", b"c", b"{}")
