"""Responses and conversations as they are kept: found at once, counted whole, old when unused."""

from typing import Any, cast

from gateway.api.responses.archive import Archive, StoredResponse
from gateway.api.responses.history import HistoryLink
from gateway.core.clock import NANO
from gateway.core.errors import NotFound

ROOM = 1 << 30


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def keep(archive: Archive, owner: str, id_: str, items: list[dict[str, Any]]) -> bool:
    """Keep a response of nothing to these items."""
    response = cast(Any, {"id": id_, "status": "completed", "output": []})
    stored = StoredResponse(id_, response, HistoryLink(items))
    kept = archive.keep(owner, stored)
    if kept:
        archive.ended(owner, stored)
    return kept


def lost(archive: Archive, owner: str, id_: str) -> bool:
    try:
        archive.conversation(owner, id_)
    except NotFound:
        return True
    return False


def test_any_number_of_references_is_followed() -> None:
    """To look through all items for each of them would not end."""
    archive = Archive(ROOM, 10, Clock())
    items = [{"id": str(n)} for n in range(200_000)]
    assert keep(archive, "a", "resp_1", items)
    found = archive.find("a", {item["id"] for item in items})
    assert found == {item["id"]: item for item in items}
    assert archive.find("b", {"1"}) == {}


def test_the_newest_item_of_an_id_is_found() -> None:
    archive = Archive(ROOM, 10, Clock())
    for n in range(2):
        keep(archive, "a", f"resp_{n}", [{"id": "x", "n": n}])
    assert archive.find("a", {"x", "y"}) == {"x": {"id": "x", "n": 1}}


def test_small_items_are_counted_with_what_they_cost() -> None:
    """Each is a few objects in memory, however little it says."""
    archive = Archive(100_000, 10, Clock())
    assert keep(archive, "a", "resp_1", [{"id": str(n)} for n in range(300)])
    assert not keep(archive, "a", "resp_2", [{"id": str(n)} for n in range(500)])


def test_metadata_is_counted() -> None:
    archive = Archive(40_000, 10, Clock())
    long = {str(n): "x" * 500 for n in range(16)}
    made = [archive.new_conversation("a", [], long, 0).body["id"] for _ in range(5)]
    assert [lost(archive, "a", id_) for id_ in made] == [True] + [False] * 4
    small = archive.new_conversation("b", [], {}, 0)
    before = small.size
    small.describe(long)
    assert small.size - before > 8000
    small.describe({})
    assert small.size == before


def test_a_conversation_that_goes_on_does_not_get_old() -> None:
    clock = Clock()
    archive = Archive(20_000, 10, clock)
    used = archive.new_conversation("a", [], {}, 0)
    left = archive.new_conversation("a", [], {}, 0)
    for n in range(5):
        clock.now += 4 * NANO
        used.add([{"id": str(n), "text": "x" * 500}])
        archive.changed("a", used)
    assert lost(archive, "a", left.body["id"])
    # What makes room is older than its last change, too.
    for n in range(8):
        keep(archive, "a", f"resp_{n}", [{"id": "x", "text": "x" * 2000}])
        used.add([{"id": f"more {n}"}])
        archive.changed("a", used)
    assert archive.conversation("a", used.body["id"]) is used
