"""Both archives of stored responses, and responses for them, for tests of what both do."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from gateway.api.responses.archive import Archive, MadeResponse
from gateway.api.responses.database_archive import DatabaseArchive
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.memory_archive import MemoryArchive
from gateway.core.clock import NANO
from gateway.core.errors import NotFound
from gateway.stored.database import Database
from gateway.stored.objects import Objects

ROOM = 1 << 30


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000 * NANO

    def __call__(self) -> int:
        self.now += 1  # no two things happen at once
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += int(seconds * NANO)


@contextlib.asynccontextmanager
async def opened(
    place: str | None, room: int = ROOM, age: float = 1000, clock: Clock | None = None
) -> AsyncIterator[Archive]:
    """An archive that is ended at the end; ``place``: of a database, None: in memory."""
    clock = clock or Clock()
    if place is None:
        yield MemoryArchive(room, age, clock)
        return
    database = Database(place)
    await database.open()
    archive = DatabaseArchive(Objects(database, room, age, clock), alone=True)
    await archive.start()
    try:
        yield archive
    finally:
        await archive.stop()
        await database.close()


def response(
    id_: str,
    items: list[dict[str, Any]],
    output: list[dict[str, Any]] | None = None,
    *,
    status: str = "completed",
    stop: Callable[[], None] | None = None,
    log: EventLog | None = None,
    after: Any = None,
) -> MadeResponse:
    """A response to these items. ``after``: the link that it follows."""
    body = cast(Any, {"id": id_, "status": status, "output": output or []})
    made = MadeResponse(body, items, after, log)
    if stop is not None:
        made.stop = stop
    return made


async def found(archive: Archive, owner: str, id_: str) -> bool:
    """Return whether an owner finds a response or a conversation."""
    looking = archive.response if id_.startswith("resp") else archive.conversation
    try:
        await looking(owner, id_)
    except NotFound:
        return False
    return True
