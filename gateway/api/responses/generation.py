"""One response at work: a ticket's events, told by a writer, batch by batch."""

import time
from collections.abc import AsyncIterator

from gateway.api.responses.places import QueuePlaces
from gateway.api.responses.response import error_of, in_own_names, usage_of
from gateway.api.responses.types import ResponseEvent
from gateway.api.responses.writer import EventWriter
from gateway.core.errors import ForgeError
from gateway.dispatch.ticket import ClientEvent, Ticket
from workers.protocol import Finished, Started


class Generation:
    """Reads a ticket to its end. For one reader."""

    def __init__(
        self,
        ticket: Ticket,
        writer: EventWriter,
        places: QueuePlaces,
        patience: float,
        paths: list[str],
    ) -> None:
        """``patience``: seconds of silence after which an event says that the work goes on.

        ``paths``: the places of the tools in the request, for errors.
        """
        self.ticket = ticket
        self.writer = writer
        self._places = places
        self._patience = patience
        self._paths = paths
        self._created = False
        self._started = False
        self._quiet = False
        """True: there is no client that has to be kept patient."""

    def at_once(self) -> list[ResponseEvent]:
        """Return the first events before anything has come."""
        self._created = True
        found = [*self.writer.created(), *self._waiting()]
        self._quiet = True
        return found

    async def events(
        self, *, enough: int = 1, whole: bool = False
    ) -> AsyncIterator[list[ResponseEvent]]:
        """Yield the dialect's events, the last one included.

        ``enough``: as in :meth:`Ticket.take`. Raises a ForgeError that comes before the first
        event, or any if ``whole``: the request can still be answered with it.
        """
        try:
            while not self.writer.ended:
                batch = await self.ticket.take(self._patience, enough=enough)
                found = [] if self._created else self.writer.created()
                self._created = True
                found += self._told(batch) if batch else self._waiting()
                if found:
                    yield found
        except ForgeError as error:
            in_own_names(error, self._paths)
            if whole or not self._created:
                raise
            yield self.writer.fail(error_of(error))

    def _told(self, batch: list[ClientEvent]) -> list[ResponseEvent]:
        found: list[ResponseEvent] = []
        for event in batch:
            found += self._begin()
            if isinstance(event, Started):
                continue
            found += self.writer.take(event)
            if isinstance(event, Finished):
                usage = usage_of(self.ticket.usage)
                found += self.writer.finish(event.reason, usage, int(time.time()))
        return found

    def _begin(self) -> list[ResponseEvent]:
        """Return the event that tells of the start; nothing if it was told."""
        if self._started:
            return []
        self._started = True
        return self.writer.started()

    def _waiting(self) -> list[ResponseEvent]:
        waits = self.ticket.dispatched_ns is None
        place = (self._places.position(self.ticket.id) or 1) if waits else None
        if place is not None and self._quiet:
            self.writer.moved(place)
            return []
        if place is None:
            if self._quiet and self._started:
                return []
            self._started = True
        return self.writer.waiting(place)
