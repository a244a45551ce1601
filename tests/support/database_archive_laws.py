"""Laws of an archive in a database: what survives its process, several servers, its counts.

A subclass has a fixture ``place``, which names an empty database.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest
from sqlalchemy import func, select

from gateway.api.responses import database_archive
from gateway.api.responses.archive import MadeResponse
from gateway.api.responses.database_archive import SILENT_S, DatabaseArchive
from gateway.api.responses.event_log import EventLog
from gateway.core.errors import StorageFull, Unavailable
from gateway.stored.database import Database
from gateway.stored.object_rows import AT_ONCE
from gateway.stored.objects import Objects
from gateway.stored.tables import object_items, object_owners, objects
from tests.support.archives import Clock, found, response
from tests.support.dialects import data_of
from tests.support.response_events import check


class House:
    """A database and the archives of the servers that share it."""

    def __init__(self, place: str, room: int = 1 << 30, age: float = 1000) -> None:
        self.clock = Clock()
        self.database = Database(place)
        self.objects = Objects(self.database, room, age, self.clock)

    async def archive(self, *, alone: bool) -> DatabaseArchive:
        """The archive of a server that has just been started."""
        archive = DatabaseArchive(self.objects, alone=alone)
        await archive.start()
        return archive

    async def die(self, archive: DatabaseArchive) -> None:
        """Let a server write nothing more, as one that was killed."""
        assert archive._beating is not None
        archive._beating.cancel()


@contextlib.asynccontextmanager
async def house(place: str, **options: Any) -> AsyncIterator[House]:
    made = House(place, **options)
    await made.database.open()
    try:
        yield made
    finally:
        await made.database.close()


def at_work(id_: str = "resp_1") -> MadeResponse:
    """A response in the background, of which two events have come."""
    made = response(id_, [{"id": "in"}], status="queued", log=EventLog())
    made.response["queue"] = {"position": 3}
    assert made.log is not None
    kinds = ("response.created", "response.in_progress")
    made.log.add(cast(Any, [{"type": k, "sequence_number": n} for n, k in enumerate(kinds)]))

    def stop() -> None:
        assert made.log is not None
        if made.working:
            made.response["status"] = "cancelled"
            made.log.close()

    made.stop = stop
    return made


async def status(archive: DatabaseArchive, id_: str = "resp_1") -> str:
    told: str = orjson.loads((await archive.response("a", id_)).json)["status"]
    return told


async def followed(archive: DatabaseArchive, after: int) -> list[dict[str, Any]]:
    pieces = [piece async for piece in await archive.follow("a", "resp_1", after, 10)]
    return [json.loads(data) for data in data_of(iter(b"".join(pieces).decode().splitlines()))]


class DatabaseArchiveLaws:
    """To be inherited."""

    async def test_what_was_at_work_when_its_server_died_has_failed(self, place: str) -> None:
        async with house(place) as at:
            first = await at.archive(alone=True)
            assert await first.keep("a", response("resp_0", [{"id": "x"}]))
            assert await first.keep("a", at_work())
            await at.die(first)
            second = await at.archive(alone=True)
            told = orjson.loads((await second.response("a", "resp_1")).json)
            assert (told["status"], told["error"]["code"]) == ("failed", "server_error")
            assert "queue" not in told
            assert not (await second.earlier("a", "resp_1")).working
            check(await followed(second, -1), told)
            for after in (0, 1, 17, 10**30):
                (event,) = await followed(second, after)
                assert (event["type"], event["response"]) == ("response.failed", told)
                assert after > 2**53 or event["sequence_number"] == after + 1
            assert await status(second, "resp_0") == "completed"
            assert orjson.loads((await second.cancel("a", "resp_1")).json) == told
            await second.stop()

    async def test_what_is_at_work_when_the_server_stops_is_not_at_work_afterwards(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database_archive, "STOP_S", 0.01)
        async with house(place) as at:
            first = await at.archive(alone=False)
            assert await first.keep("a", at_work())
            await first.stop()
            second = await at.archive(alone=False)
            assert await status(second) == "failed"
            await second.stop()

    async def test_events_are_told_again_by_the_next_server(self, place: str) -> None:
        async with house(place) as at:
            first, made = await at.archive(alone=True), at_work()
            assert await first.keep("a", made)
            made.response["status"] = "completed"
            assert made.log is not None
            made.log.close()
            await first.ended("a", made)
            before = [await followed(first, after) for after in (-1, 0, 1)]
            await first.stop()
            second = await at.archive(alone=True)
            assert [await followed(second, after) for after in (-1, 0, 1)] == before
            assert [len(events) for events in before] == [2, 1, 0]
            await second.stop()

    async def test_another_server_cancels_deletes_and_follows(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database_archive, "POLL_S", 0.01)
        async with house(place) as at:
            one, two = [await at.archive(alone=False) for _ in range(2)]
            made = [at_work(f"resp_{n}") for n in range(3)]
            for each in made:
                assert await one.keep("a", each)
            assert await status(two, "resp_0") == "queued"
            cancelled = await two.cancel("a", "resp_0")
            assert orjson.loads(cancelled.json)["status"] == "cancelled"
            await two.delete_response("a", "resp_2")
            following = asyncio.create_task(followed(two, -1))
            await one.look_after(sweep=False)
            assert [each.response["status"] for each in made] == [
                "cancelled",
                "queued",
                "cancelled",
            ]
            for each in (made[0], made[2]):
                await one.ended("a", each)
            made[1].response["status"] = "completed"
            await one.ended("a", made[1])
            assert [event["type"] for event in await following] == [
                "response.created",
                "response.in_progress",
            ]
            assert await status(two, "resp_0") == await status(one, "resp_0") == "cancelled"
            assert not await found(one, "a", "resp_2")
            assert await status(two) == "completed"
            for archive in (one, two):
                await archive.stop()

    async def test_a_server_that_is_silent_is_taken_for_dead(self, place: str) -> None:
        async with house(place) as at:
            one, two = [await at.archive(alone=False) for _ in range(2)]
            made = at_work()
            assert await one.keep("a", made)
            for _ in range(3):
                at.clock.pass_(SILENT_S - 5)
                await one.look_after(sweep=False)
                await two.look_after(sweep=False)
                assert await status(two) == "queued"
            at.clock.pass_(SILENT_S + 5)
            await two.look_after(sweep=False)
            assert await status(two) == "failed"
            await one.look_after(sweep=False)  # it was only slow: what was told is true
            assert made.response["status"] == "cancelled"
            await one.ended("a", made)
            assert await status(one) == "failed"
            for archive in (one, two):
                await archive.stop()

    async def test_a_full_disk_costs_no_answer(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database_archive, "BEAT_S", 0.01)
        async with house(place) as at:
            archive = await at.archive(alone=True)
            made, real, tries = at_work(), at.objects.finish, 0
            assert await archive.keep("a", made)

            async def full(*_: Any, **__: Any) -> Any:
                nonlocal tries
                tries += 1
                if tries > 3:
                    return await real("a", *_[1:])
                raise StorageFull("the disk is full")

            monkeypatch.setattr(at.objects, "insert", full)
            monkeypatch.setattr(at.objects, "finish", full)
            assert not await archive.keep("a", response("resp_2", []))  # made, so it is answered
            with pytest.raises(StorageFull):
                await archive.keep("a", at_work("resp_3"))
            made.response["status"] = "completed"
            ending = asyncio.create_task(archive.ended("a", made))
            assert await status(archive) == "completed"  # though it is not written yet
            assert [each["id"] for each in (await archive.earlier("a", "resp_1")).items] == ["in"]
            await ending
            assert tries == 4
            await archive.stop()

    async def test_a_history_that_is_not_written_in_time_is_unavailable(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.api.responses.work_here.PATIENCE_S", 0.01)
        monkeypatch.setattr(database_archive, "STOP_S", 0.01)
        async with house(place) as at:
            archive, made = await at.archive(alone=True), at_work()
            assert await archive.keep("a", made)
            made.response["status"] = "completed"
            with pytest.raises(Unavailable):
                await archive.earlier("a", "resp_1")
            await archive.stop()

    async def test_what_is_too_old_leaves_the_disk(self, place: str) -> None:
        async with house(place, age=10) as at:
            archive, made = await at.archive(alone=True), at_work()
            for n in range(AT_ONCE + 1):
                await at.objects.insert("b", archive._row(response(f"resp_b{n}", [])), [])
            assert await archive.keep("a", made)
            await archive.begin("a", [{"id": "secret"}], {}, 0)
            at.clock.pass_(11)
            await archive.look_after(sweep=True)
            assert made.response["status"] == "cancelled"
            async with at.database.read() as run:
                for table in (objects, object_items):
                    assert await run.scalar(select(func.count()).select_from(table)) == 0
            await archive.stop()

    async def test_a_long_chain_is_followed_and_taken_away(self, place: str) -> None:
        async with house(place) as at:
            archive = await at.archive(alone=True)
            link = None
            for n in range(60):
                await archive.keep("a", response(f"resp_{n}", [{"id": str(n)}], after=link))
                link = (await archive.earlier("a", f"resp_{n}")).link
            for n in range(59):
                await archive.delete_response("a", f"resp_{n}")
            last = await archive.earlier("a", "resp_59")
            assert [each["id"] for each in last.items] == [str(n) for n in range(60)]
            await archive.delete_response("a", "resp_59")
            async with at.database.read() as run:
                assert await run.scalar(select(func.count()).select_from(objects)) == 0
                assert await run.scalar(select(object_owners.c.bytes)) == 0
            await archive.stop()
