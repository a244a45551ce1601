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
