"""Laws of API keys in a store."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Table, insert

from gateway.batches.batch_store import BatchStore
from gateway.batches.record import NewBatch
from gateway.core.errors import KeyExists, KeyLeftovers, LastAdmin, NotFound, QuotaExceeded
from gateway.stored import key_rows
from gateway.stored.key_rows import KeyRow, KeyRows
from gateway.stored.store import Store
from gateway.stored.tables import objects, uploads
from tests.support.store_laws.one_store import OneStore, Place
from tests.support.stored_files import put


def rows(store: Store) -> KeyRows:
    return KeyRows(store.database, store.clock)


def always(keys: Sequence[KeyRow]) -> None:
    """Allow any set."""


def never(keys: Sequence[KeyRow]) -> None:
    raise LastAdmin("no")


async def leave_a_file(store: Store, owner: str) -> None:
    await put(store, owner, b"x")


async def leave_an_upload(store: Store, owner: str) -> None:
    now = int(store.clock())
    row = {
        "id": f"upload of {owner}", "owner": owner, "purpose": "batch", "filename": b"a",
        "bytes": 1, "status": "pending", "created_at": now, "expires_at": now + 60,
    }  # fmt: skip
    await inserted(store, uploads, row)


async def leave_a_batch(store: Store, owner: str) -> None:
    now = int(store.clock())
    new = NewBatch(
        id=f"batch_{owner.replace(' ', '_')}",
        owner=owner,
        endpoint="/v1/embeddings",
        completion_window="24h",
        priority=0.0,
        input_file="file-1",
        output_age=None,
        metadata=None,
        created_at=now,
        expires_at=now + 60,
        room=1 << 30,
    )
    await BatchStore(store.database).create(new)


async def leave_a_response(store: Store, owner: str) -> None:
    names = ("children", "given", "next", "size", "items_size", "background", "seen_at", "used_ns")
    row = {"id": f"resp of {owner}", "owner": owner, "kind": "response", "body": b"{}"}
    await inserted(store, objects, row | dict.fromkeys(names, 0))


async def inserted(store: Store, table: Table, row: dict[str, Any]) -> None:
    async with store.database.begin() as run:
        await run.execute(insert(table).values(**row))


LEAVING = {
    "file": leave_a_file,
    "upload": leave_an_upload,
    "batch": leave_a_batch,
    "response": leave_a_response,
}


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

    async def test_what_a_key_has_left_is_not_given_to_another(self, store: Store) -> None:
        """Unless that is said; a revoked key's own things stay as they are."""
        keys = rows(store)
        for at, (what, leave) in enumerate(LEAVING.items()):
            name = f"key {at}"
            await keys.add(name, b"%d" % at, b"{}")
            await leave(store, name)
            await keys.remove(name, always)
            before = await keys.all()
            with pytest.raises(KeyLeftovers, match=f"an earlier key '{name}' has left 1 {what},"):
                await keys.add(name, b"new %d" % at, b"{}")
            assert await keys.all() == before
            await keys.add(name, b"new %d" % at, b"{}", adopt=True)
        file = await put(store, "gone", b"x")
        await store.files.delete("gone", file.id)
        await keys.add("gone", b"1st", b"{}")

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
