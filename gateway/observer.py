"""Who hears what became of requests: the metrics and the limits."""

from typing import Protocol

from gateway.ticket import Ticket


class Observer(Protocol):
    """Hears of it in the event loop."""

    def on_end(self, ticket: Ticket) -> None:
        """``ticket`` ended, one way or the other."""
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
        self._observers = observers

    def on_end(self, ticket: Ticket) -> None:
        for observer in self._observers:
            observer.on_end(ticket)

    def on_unparked(self, seconds: float) -> None:
        for observer in self._observers:
            observer.on_unparked(seconds)

    def on_violation(self, what: str) -> None:
        for observer in self._observers:
            observer.on_violation(what)
