"""The laws of archives in a database, in SQLite; and its counts, whatever comes."""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.api.responses.archive import MadeResponse
from gateway.api.responses.event_log import EventLog
from gateway.core.errors import NotFound
from gateway.stored.object_rows import LINK
from gateway.stored.tables import object_items, object_owners, objects
from tests.support.archives import response
from tests.support.database_archive_laws import DatabaseArchiveLaws, House, house

pytestmark = pytest.mark.anyio


class TestSqlite(DatabaseArchiveLaws):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "forge.db")


async def audit(at: House) -> None:
    """Hold what is counted to what is there."""
    async with at.database.read() as run:
        rows = (await run.execute(select(objects))).all()
        items = (await run.execute(select(object_items))).all()
        owners = {row.owner: row.bytes for row in await run.execute(select(object_owners))}
    children = [row.parent for row in rows]
    for row in rows:
        assert row.children == children.count(row.id)
        assert row.kind != LINK or (row.children and not row.body and row.log is None)
        own = [each for each in items if each.object == row.id]
        assert row.items_size == sum(256 + len(each.json) for each in own)
        assert row.size == 1536 + row.items_size + len(row.body) + len(row.log or b"")
    for owner, count in owners.items():
        assert count == sum(row.size for row in rows if row.owner == owner)
    assert {row.owner for row in rows} <= owners.keys()
    assert sum(owners.values()) <= at.objects.room


STEPS = st.one_of(
    st.tuples(st.just("keep"), st.integers(0, 2), st.integers(-1, 30), st.integers(0, 4000)),
    st.tuples(st.just("work"), st.integers(0, 2), st.integers(-1, 30), st.integers(0, 4000)),
    st.tuples(st.just("end"), st.integers(0, 2), st.integers(0, 30), st.integers(0, 4000)),
    st.tuples(st.just("delete"), st.integers(0, 2), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("begin"), st.integers(0, 2), st.just(0), st.integers(0, 4000)),
    st.tuples(st.just("add"), st.integers(0, 2), st.integers(0, 30), st.integers(0, 4000)),
    st.tuples(st.just("wait"), st.just(0), st.just(0), st.integers(1, 6)),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_counts_are_right_whatever_comes(steps: list[tuple[str, int, int, int]]) -> None:
    async def run(folder: Path) -> None:
        async with house(str(folder / "forge.db"), room=20_000, age=10) as at:
            archive = await at.archive(alone=True)
            known: list[str] = []
            made: dict[str, MadeResponse] = {}
            for step, (what, who, which, size) in enumerate(steps):
                owner, id_ = f"o{who}", known[which % len(known)] if known else "resp_x"
                items = [{"id": f"i{size % 3}", "text": "x" * size}]
                with contextlib.suppress(NotFound):
                    if what in ("keep", "work"):
                        new = f"resp_{step}"
                        known.append(new)
                        link = None
                        if which >= 0:
                            link = (await archive.earlier(owner, id_)).link
                        state = "completed" if what == "keep" else "in_progress"
                        log = None if what == "keep" else EventLog()
                        made[new] = response(new, items, status=state, log=log, after=link)
                        await archive.keep(owner, made[new])
                    elif what == "end" and id_ in made:
                        made[id_].response["status"] = "completed"
                        made[id_].response["output"] = cast(Any, items)
                        await archive.ended(owner, made[id_])
                    elif what == "delete":
                        await archive.delete_response(owner, id_)
                    elif what == "begin":
                        known.append((await archive.begin(owner, items, {}, 0))["id"])
                    elif what == "add":
                        await archive.add(owner, id_, items)
                    elif what == "wait":
                        at.clock.pass_(size)
                        await archive.look_after(sweep=True)
                await audit(at)
            for each in made.values():
                each.response["status"] = "completed"
            await at.die(archive)

    memory = Path("/dev/shm")  # where there is one, no disk waits for every step
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(run(Path(folder)))
