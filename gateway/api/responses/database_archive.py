"""Responses and conversations in the database of a data folder: they survive the process.

A response in the background is a row from its begin on, and in this process's memory while it is
at work: its present state, its events. At its end both go into the row. A server that dies in
between leaves a row at work, which another server, or the same one at its next start, ends as
failed. Several servers share a database of PostgreSQL: each tells every few seconds that it is
alive, and learns which of its responses another has cancelled or deleted.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from gateway.api.responses.archive import (
    WORKING,
    Earlier,
    KeptResponse,
    MadeResponse,
    PageOfItems,
    no_response,
)
from gateway.api.responses.database_conversations import DatabaseConversations
from gateway.api.responses.database_rows import (
    ended,
    key,
    last_events,
    may_be,
    output,
    read,
    told,
    written,
)
from gateway.api.responses.event_log import EventLog
from gateway.api.responses.history import HistoryEnd, Item
from gateway.api.responses.types import ItemList
from gateway.core.errors import ForgeError
from gateway.stored.object_rows import RESPONSE
from gateway.stored.objects import Objects, Parent, StoredObject

log = logging.getLogger("forge.store")

BEAT_S = 5.0
"""Seconds between two heartbeats, and between two attempts to write an end."""
SILENT_S = 60.0
"""Seconds of silence after which another server is taken for dead."""
SWEEP_BEATS = 12
"""Beats between two looks at what is too old."""
POLL_S = 1.0
"""Seconds between two looks at what another server is at work on."""
STOP_S = 5.0
"""Seconds that responses at work may take to end when the server does."""


@dataclass(frozen=True, slots=True)
class RowLink(HistoryEnd):
    """The end of a history in the database."""

    parent: Parent


class DatabaseArchive(DatabaseConversations):
    """Implements :class:`gateway.api.responses.archive.Archive`."""

    on = True

    def __init__(self, objects: Objects, *, alone: bool) -> None:
        """``alone``: no other server uses the database."""
        super().__init__(objects)
        self._alone = alone
        self._gateway = secrets.token_hex(12)
        self._beating: asyncio.Task[None] | None = None
        self._stopping = False

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """End what was at work when an earlier server died, and look after the rest."""
        if self._beating is not None:
            return
        await self._end_abandoned()
        self._beating = asyncio.create_task(self._beat_on())

    async def stop(self) -> None:
        """Write what is left to be written; what is still at work has failed."""
        self._stopping = True
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])
        await self._work.settle(STOP_S)
        with contextlib.suppress(ForgeError):
            for each in self._work:
                failed = ended(orjson.dumps(each.made.response), "failed")
                await self._objects.end(each.owner, each.made.id, "failed", failed)
        await self._work.written()

    async def _beat_on(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(BEAT_S)
            beats += 1
            try:
                await self._work.whole(self.look_after(sweep=beats % SWEEP_BEATS == 0))
            except ForgeError as error:  # the disk is full, or the database away
                log.warning("stored responses are looked after later: %s", error.message)
            except Exception:  # without its beats this server would be taken for dead
                log.exception("stored responses: a bug")

    async def look_after(self, *, sweep: bool) -> None:
        """Do what is to be done every few seconds; ``sweep``: also what is rarer."""
        if at_work := {each.made.id for each in self._work}:
            self._work.forget(at_work - await self._objects.beat(self._gateway))
        if not self._alone:
            await self._end_abandoned()
        if sweep:
            self._work.forget(await self._objects.sweep())

    async def _end_abandoned(self) -> None:
        silent = None if self._alone else SILENT_S
        for owner, id_, body in await self._objects.abandoned(self._gateway, silent):
            await self._objects.end(owner, id_, "failed", ended(body, "failed"))

    # ------------------------------------------------------------------ responses

    async def keep(self, owner: str, made: MadeResponse) -> bool:
        assert made.link is None or isinstance(made.link, RowLink)
        write = self._objects.insert(
            owner,
            self._row(made),
            written(made.items if made.working else [*made.items, *output(made)]),
            given=len(made.items),
            parent=None if made.link is None else made.link.parent,
        )
        try:
            gone = await self._work.whole(write)
        except ForgeError as error:
            if made.working:
                raise
            log.warning("a response is not stored: %s", error.message)
            return False
        if gone is None:
            return False
        if made.working:
            self._work.add(owner, made)
        self._work.forget(gone)
        return True

    def grown(self, owner: str, made: MadeResponse) -> None:
        """Do nothing: the log is not in the database yet."""

    async def ended(self, owner: str, made: MadeResponse) -> None:
        done, items = self._row(made), written(output(made))
        events = b"" if made.log is None else made.log.whole()
        while self._work.find(owner, made.id) is not None:
            try:
                gone = await self._work.whole(self._objects.finish(owner, done, items, events))
            except ForgeError as error:
                log.warning("the end of a response is not stored yet: %s", error.message)
                if self._stopping:
                    return
                await asyncio.sleep(BEAT_S)
            else:
                self._work.forget([made.id, *gone])

    async def response(self, owner: str, id_: str) -> KeptResponse:
        at_work = self._work.find(owner, id_)
        if at_work is not None:
            return told(at_work.made)
        row = await self._response(owner, id_)
        return KeptResponse(row.id, row.body, row.background)

    async def follow(
        self, owner: str, id_: str, after: int, patience: float
    ) -> AsyncIterator[bytes]:
        at_work = self._work.find(owner, id_)
        if at_work is not None:
            assert at_work.made.log is not None, "only one in the background is followed"
            return at_work.made.log.follow(after, patience)
        return self._followed(owner, id_, after)

    async def _followed(self, owner: str, id_: str, after: int) -> AsyncIterator[bytes]:
        """Yield the events of a row, once another server has brought it to its end."""
        while True:
            row = await self._objects.get(owner, id_, RESPONSE)
            if row is None:
                return
            if row.status not in WORKING:
                break
            yield b""
            await asyncio.sleep(POLL_S)
        events = await self._objects.events(id_)
        if not events:
            yield last_events(row.body, after)
        async for data in EventLog.read(events).follow(after, POLL_S):
            yield data

    async def cancel(self, owner: str, id_: str) -> KeptResponse:
        at_work = self._work.find(owner, id_)
        if at_work is not None:
            at_work.made.stop()
            return told(at_work.made)
        row = await self._response(owner, id_)
        if row.status in WORKING:  # its server hears of it at its next beat
            cancelled = ended(row.body, "cancelled")
            await self._work.whole(self._objects.end(owner, id_, "cancelled", cancelled))
        return await self.response(owner, id_)

    async def delete_response(self, owner: str, id_: str) -> None:
        if not may_be(id_) or not await self._work.whole(
            self._objects.delete(owner, id_, RESPONSE)
        ):
            raise no_response(id_)
        self._work.forget([id_])

    async def input_items(self, owner: str, id_: str, page: PageOfItems) -> ItemList:
        return await self._part(owner, id_, RESPONSE, page, no_response(id_))

    async def earlier(self, owner: str, id_: str) -> Earlier:
        at_work = self._work.find(owner, id_)
        if at_work is not None and not at_work.made.working:
            await at_work.settled()
        row = await self._response(owner, id_)
        history = await self._items.history(owner, id_)
        if history is None:
            raise no_response(id_)
        link = RowLink(Parent(id_, history))
        return Earlier(read(history), link, row.status in WORKING)

    async def find(self, owner: str, wanted: set[str]) -> dict[str, Item]:
        found = await self._items.find(owner, [key(id_) for id_ in wanted])
        return {id_.decode(): orjson.loads(json) for id_, json in found.items()}

    def _row(self, made: MadeResponse) -> StoredObject:
        body, status = orjson.dumps(made.response), made.response["status"]
        at_work = self._gateway if made.working else None
        return StoredObject(made.id, RESPONSE, body, status, made.log is not None, at_work)

    async def _response(self, owner: str, id_: str) -> StoredObject:
        found = await self._objects.get(owner, id_, RESPONSE) if may_be(id_) else None
        if found is None:
            raise no_response(id_)
        return found
