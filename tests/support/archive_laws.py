"""Laws of both archives of responses and conversations: in memory, and in a database.

A subclass has a fixture ``archives``, which opens archives of one place that is empty at first.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import orjson
import pytest

from gateway.api.responses.archive import Archive, PageOfItems
from gateway.api.responses.event_log import EventLog
from gateway.core.errors import ForgeError, NotFound
from tests.support.archives import Clock, found, response

Open = Callable[..., AbstractAsyncContextManager[Archive]]


def item(name: str, size: int = 0) -> dict[str, Any]:
    return {"id": name, "text": "x" * size}


async def ids(archive: Archive, owner: str, id_: str) -> list[str]:
    """The ids of a response's history."""
    return [each["id"] for each in (await archive.earlier(owner, id_)).items]


class ArchiveLaws:
    """To be inherited."""

    async def test_what_is_kept_is_told_to_its_owner_alone(self, archives: Open) -> None:
        async with archives() as archive:
            made = response("resp_1", [item("a"), item("b")], [item("c")])
            assert await archive.keep("one", made)
            kept = await archive.response("one", "resp_1")
            assert (kept.id, orjson.loads(kept.json)) == ("resp_1", made.response)
            assert not kept.background
            assert await ids(archive, "one", "resp_1") == ["a", "b", "c"]
            begun = await archive.begin("one", [item("d")], {}, 7)
            page = PageOfItems()
            for owner, id_, other in (
                ("two", "resp_1", begun["id"]),
                ("one", "resp_2", "conv_2"),
                ("one", begun["id"], "resp_1"),  # of the other kind
                ("one", "a\0b", "a\0b"),
                ("one", "\ud800", "ö" * 1000),
            ):
                for looked in (
                    archive.response(owner, id_),
                    archive.earlier(owner, id_),
                    archive.cancel(owner, id_),
                    archive.input_items(owner, id_, page),
                    archive.delete_response(owner, id_),
                    archive.conversation(owner, other),
                    archive.describe(owner, other, {}),
                    archive.all_items(owner, other),
                    archive.page(owner, other, page),
                    archive.item(owner, other, "d"),
                    archive.add(owner, other, [item("e")]),
                    archive.remove(owner, other, "d"),
                    archive.delete_conversation(owner, other),
                ):
                    with pytest.raises(NotFound):
                        await looked
            assert await archive.find("two", {"a"}) == {}
            await archive.delete_response("one", "resp_1")
            assert not await found(archive, "one", "resp_1")

    async def test_any_number_of_references_is_followed(self, archives: Open) -> None:
        """To look through all items for each of them would not end."""
        async with archives() as archive:
            items = [{"id": str(n)} for n in range(20_000)]
            assert await archive.keep("a", response("resp_1", items))
            wanted = {each["id"] for each in items}
            assert await archive.find("a", wanted | {"x", "\ud800\0"}) == {
                each["id"]: each for each in items
            }
            assert await archive.find("b", {"1"}) == {}

    async def test_the_newest_item_of_an_id_is_found(self, archives: Open) -> None:
        async with archives() as archive:
            for n in range(2):
                await archive.keep("a", response(f"resp_{n}", [{"id": "x", "n": n}]))
            assert await archive.find("a", {"x", "y"}) == {"x": {"id": "x", "n": 1}}

    async def test_small_items_are_counted_with_what_they_cost(self, archives: Open) -> None:
        """Each is a few objects in memory, or a row, however little it says."""
        async with archives(room=100_000) as archive:
            few, many = ([{"id": str(n)} for n in range(count)] for count in (300, 500))
            assert await archive.keep("a", response("resp_1", few))
            assert not await archive.keep("a", response("resp_2", many))
            assert not await found(archive, "a", "resp_2")
            assert await found(archive, "a", "resp_1")  # not taken away for what has no room

    async def test_metadata_is_counted(self, archives: Open) -> None:
        async with archives(room=45_000) as archive:
            long = {str(n): "x" * 500 for n in range(16)}
            made = [(await archive.begin("a", [], long, 0))["id"] for _ in range(5)]
            assert [await found(archive, "a", id_) for id_ in made] == [False] + [True] * 4
            small = (await archive.begin("b", [], {}, 0))["id"]
            left = [id_ for id_ in made if await found(archive, "a", id_)]
            assert (await archive.describe("b", small, long))["metadata"] == long
            still = [id_ for id_ in made if await found(archive, "a", id_)]
            assert len(still) == len(left) - 1
            assert (await archive.conversation("b", small))["metadata"] == long

    async def test_a_conversation_that_goes_on_does_not_get_old(self, archives: Open) -> None:
        clock = Clock()
        async with archives(room=20_000, age=10, clock=clock) as archive:
            used, left = [(await archive.begin("a", [], {}, 0))["id"] for _ in range(2)]
            for n in range(5):
                clock.pass_(4)
                await archive.add("a", used, [item(str(n), 500)])
            assert not await found(archive, "a", left)
            # What makes room is older than its last change, too.
            for n in range(8):
                await archive.keep("a", response(f"resp_{n}", [item("x", 2000)]))
                await archive.add("a", used, [item(f"more {n}")])
            assert await found(archive, "a", used)

    async def test_the_owner_with_the_most_loses_its_oldest(self, archives: Open) -> None:
        async with archives(room=50_000) as archive:
            assert await archive.keep("quiet", response("resp_q", [item("q", 5000)]))
            for n in range(20):
                assert await archive.keep("busy", response(f"resp_{n}", [item("x", 5000)]))
            left = [n for n in range(20) if await found(archive, "busy", f"resp_{n}")]
            assert left == list(range(20 - len(left), 20))
            assert len(left) >= 5
            assert await found(archive, "quiet", "resp_q")

    async def test_a_history_outlives_the_responses_that_it_was_made_of(
        self, archives: Open
    ) -> None:
        async with archives(room=30_000) as archive:
            link = None
            for n in range(4):
                made = response(
                    f"resp_{n}", [item(f"in {n}", 2000)], [item(f"out {n}")], after=link
                )
                assert await archive.keep("a", made)
                link = (await archive.earlier("a", f"resp_{n}")).link
            whole = [f"{way} {n}" for n in range(4) for way in ("in", "out")]
            for n in (1, 0, 2):
                await archive.delete_response("a", f"resp_{n}")
                assert await ids(archive, "a", "resp_3") == whole
            assert await archive.find("a", {"in 0", "in 3"}) == {"in 3": item("in 3", 2000)}
            inputs = await archive.input_items("a", "resp_3", PageOfItems())
            assert [each["id"] for each in inputs["data"]] == ["in 3"]
            # With the last that needs them all bytes are free again: nothing else has to go.
            await archive.keep("b", response("resp_b", [item("b")]))
            await archive.delete_response("a", "resp_3")
            assert await archive.keep("a", response("resp_9", [item("x", 24_000)]))
            assert await found(archive, "b", "resp_b")

    async def test_what_is_deleted_while_a_request_follows_it_stays_in_its_history(
        self,
        archives: Open,
    ) -> None:
        async with archives() as archive:
            await archive.keep("a", response("resp_1", [item("one")]))
            first = (await archive.earlier("a", "resp_1")).link
            await archive.keep("a", response("resp_2", [item("two")], after=first))
            second = (await archive.earlier("a", "resp_2")).link
            for id_ in ("resp_2", "resp_1"):
                await archive.delete_response("a", id_)
            assert await archive.keep("a", response("resp_3", [item("three")], after=second))
            assert await archive.keep("a", response("resp_4", [item("four")], after=second))
            for id_, own in (("resp_3", "three"), ("resp_4", "four")):
                assert await ids(archive, "a", id_) == ["one", "two", own]
            assert not await found(archive, "a", "resp_2")
            await archive.delete_response("a", "resp_3")
            assert await ids(archive, "a", "resp_4") == ["one", "two", "four"]

    async def test_a_history_that_is_too_large_is_not_kept(self, archives: Open) -> None:
        async with archives(room=30_000) as archive:
            assert await archive.keep("b", response("resp_b", [item("b")]))
            assert await archive.keep("a", response("resp_1", [item("x", 15_000)]))
            link = (await archive.earlier("a", "resp_1")).link
            assert not await archive.keep("a", response("resp_2", [item("y", 15_000)], after=link))
            assert await found(archive, "a", "resp_1")
            assert await found(archive, "b", "resp_b")

    async def test_items_come_in_pages(self, archives: Open) -> None:
        async with archives() as archive:
            names = [f"i{n}" for n in range(5)]
            await archive.keep(
                "a", response("resp_1", [item(name) for name in names], [item("out")])
            )
            begun = (await archive.begin("a", [item(name) for name in names], {}, 0))["id"]
            for pages in (
                functools.partial(archive.input_items, "a", "resp_1"),
                functools.partial(archive.page, "a", begun),
            ):
                for page, expected, more in (
                    (PageOfItems(), names[::-1], False),
                    (PageOfItems(limit=2), ["i4", "i3"], True),
                    (PageOfItems("i3", 2), ["i2", "i1"], True),
                    (PageOfItems("i1", 1), ["i0"], False),
                    (PageOfItems(None, 5, "asc"), names, False),
                    (PageOfItems("i1", 2, "asc"), ["i2", "i3"], True),
                    (PageOfItems("i4", 2, "asc"), [], False),
                ):
                    got = await pages(page)
                    assert [each["id"] for each in got["data"]] == expected
                    assert got["has_more"] is more
                    ends = (expected[0], expected[-1]) if expected else (None, None)
                    assert (got["first_id"], got["last_id"]) == ends
                for unknown in ("out", "nothing", "\ud800"):
                    with pytest.raises(NotFound) as caught:
                        await pages(PageOfItems(unknown))
                    assert caught.value.param == "after"

    async def test_a_conversation_changes_item_by_item(self, archives: Open) -> None:
        async with archives() as archive:
            id_ = (await archive.begin("a", [item("1"), item("2")], {"k": "v"}, 7))["id"]
            await archive.add("a", id_, [item("3"), {"id": "1", "text": "new"}])
            whole = await archive.all_items("a", id_)
            assert [each["id"] for each in whole] == ["2", "3", "1"]
            assert orjson.loads(await archive.item("a", id_, "1"))["text"] == "new"
            body = await archive.remove("a", id_, "3")
            assert body == await archive.conversation("a", id_)
            assert (body["created_at"], body["metadata"]) == (7, {"k": "v"})
            for gone in ("3", "\0"):
                for looking in (archive.item("a", id_, gone), archive.remove("a", id_, gone)):
                    with pytest.raises(NotFound) as caught:
                        await looking
                    assert caught.value.param == "item_id"
            await archive.delete_conversation("a", id_)
            assert await archive.find("a", {"1", "2"}) == {}

    async def test_one_at_work_ends_once(self, archives: Open) -> None:
        async with archives() as archive:
            stopped: list[str] = []
            log = EventLog()
            made = response(
                "resp_1",
                [item("in")],
                status="in_progress",
                log=log,
                stop=lambda: stopped.append("resp_1"),
            )
            assert await archive.keep("a", made)
            assert (await archive.response("a", "resp_1")).background
            assert (await archive.earlier("a", "resp_1")).working
            events = [{"type": f"response.{n}", "sequence_number": n} for n in range(3)]
            log.add(cast(Any, events[:2]))
            archive.grown("a", made)
            early = await archive.follow("a", "resp_1", 0, 10)
            made.response["status"], made.response["output"] = "completed", cast(Any, [item("out")])
            log.add(cast(Any, events[2:]))
            log.close()
            await archive.ended("a", made)
            await archive.ended("a", made)
            told = orjson.loads((await archive.response("a", "resp_1")).json)
            assert (told["status"], told["output"]) == ("completed", [item("out")])
            earlier = await archive.earlier("a", "resp_1")
            assert ([each["id"] for each in earlier.items], earlier.working) == (
                ["in", "out"],
                False,
            )
            late = await archive.follow("a", "resp_1", 0, 10)
            pieces = [b"".join([piece async for piece in each]) for each in (early, late)]
            assert pieces[0] == pieces[1]
            assert pieces[0].count(b"event: ") == 2
            await archive.delete_response("a", "resp_1")
            assert await archive.find("a", {"in", "out"}) == {}

    @pytest.mark.parametrize("way", ["delete", "cancel", "evict"])
    async def test_one_at_work_that_is_not_wanted_is_stopped(
        self, archives: Open, way: str
    ) -> None:
        async with archives(room=30_000) as archive:
            stopped: list[str] = []

            def stop() -> None:
                if made.response["status"] == "in_progress":
                    stopped.append(made.id)
                    made.response["status"] = "cancelled"

            made = response("resp_1", [item("in")], status="in_progress", log=EventLog(), stop=stop)
            assert await archive.keep("a", made)
            if way == "delete":
                await archive.delete_response("a", "resp_1")
            elif way == "cancel":
                told = await archive.cancel("a", "resp_1")
                assert orjson.loads(told.json)["status"] == "cancelled"
            else:
                await archive.begin("a", [item("x", 27_500)], {}, 0)
            assert stopped == ["resp_1"]
            await archive.ended("a", made)
            assert await found(archive, "a", "resp_1") is (way == "cancel")

    async def test_what_is_too_old_is_gone(self, archives: Open) -> None:
        clock = Clock()
        async with archives(age=10, clock=clock) as archive:
            await archive.keep("a", response("resp_1", [item("one")]))
            clock.pass_(6)
            link = (await archive.earlier("a", "resp_1")).link
            await archive.keep("a", response("resp_2", [item("two")], after=link))
            clock.pass_(6)
            assert not await found(archive, "a", "resp_1")
            assert await ids(archive, "a", "resp_2") == ["one", "two"]
            assert await archive.find("a", {"one", "two"}) == {"two": item("two")}
            clock.pass_(6)
            with pytest.raises(ForgeError):
                await archive.earlier("a", "resp_2")
