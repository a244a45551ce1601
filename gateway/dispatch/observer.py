"""Listeners for the ends of requests: the metrics, the limits, the log, the live page."""

from typing import Protocol

from gateway.core.errors import ForgeError
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket


class Observer(Protocol):
    """Hears of it in the event loop."""

    def on_end(self, ticket: Ticket) -> None:
        """``ticket`` ended, one way or the other."""
        ...

    def on_refused(self, job: Job, error: ForgeError) -> None:
        """A request was not let in: it never became a ticket."""
        ...

    def on_unparked(self, seconds: float) -> None:
        """A sequence was parked for so long, and now it has a slot again or has ended."""
        ...

    def on_violation(self, what: str) -> None:
        """Something that must hold does not: a bug."""
        ...


class Observers:
    """Several observers as one. Implements :class:`Observer`."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = list(observers)

    def add(self, observer: Observer) -> None:
        """Add one that could not be made before the dispatchers."""
        self._observers.append(observer)

    def on_end(self, ticket: Ticket) -> None:
        for observer in self._observers:
            observer.on_end(ticket)

    def on_refused(self, job: Job, error: ForgeError) -> None:
        for observer in self._observers:
            observer.on_refused(job, error)

    def on_unparked(self, seconds: float) -> None:
        for observer in self._observers:
            observer.on_unparked(seconds)

    def on_violation(self, what: str) -> None:
        for observer in self._observers:
            observer.on_violation(what)
