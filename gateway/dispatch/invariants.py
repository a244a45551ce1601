"""The books, checked when nothing is going on: whatever is left in them then was lost or leaked."""

import asyncio

from gateway.dispatch.dispatcher import Dispatcher

PERIOD_S = 2.0


class InvariantChecker:
    """Looks at a dispatcher and its pool from time to time, and reports what must not be."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._found: set[str] = set()
        """At the last look, when so many sequences had been accepted:"""
        self._accepted = 0
        self._reported: set[str] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(PERIOD_S)
            self.look()

    def look(self) -> None:
        """Report what is left now and was left at the last look, with no request in between.

        Once is nothing yet: the worker of a client that just went may still be winding up.
        """
        found, accepted = set(self._dispatcher.stats.leaks()), self._dispatcher.stats.accepted
        lasting = found & self._found if accepted == self._accepted else set()
        for violation in sorted(lasting - self._reported):
            self._dispatcher.on_violation(violation)
        self._reported = lasting
        self._found, self._accepted = found, accepted

    async def last_look(self) -> None:
        """Look once more before the end, as :meth:`look`, without waiting for long."""
        for _ in range(20):
            if not self._dispatcher.stats.leaks():
                break
            await asyncio.sleep(0.05)
        self.look()
        self.look()
