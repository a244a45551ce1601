"""Sequences that may be killing workers: each gets a worker of its own, once.

Whoever was computed beside a killer died as often as it did, so nobody is given up on the count of
deaths alone. Run alone, the killer kills again and fails; the others give a token, and are clear.
And where workers die without the suspect too, its presence at some deaths explains nothing: each
of those deaths speaks for it as much as one of its own speaks against it.
"""

from collections.abc import Callable

from gateway.pool import Pool
from gateway.queue import Queue
from gateway.sequence import Sequence

MAX_DEATHS = 3
"""A sequence that saw this many workers die without giving a token in between is suspected."""


class Quarantine:
    """One suspect at a time has a worker to itself; the others wait in the queue, off the heap."""

    def __init__(self, pool: Pool, queue: Queue, wake: Callable[[], None]) -> None:
        """``wake`` is called when more can be dispatched than before."""
        self._pool = pool
        self._queue = queue
        self._wake = wake
        self._alone: Sequence | None = None
        """The suspect that runs now, until it has given a token or ended."""
        self._deaths = 0
        """Workers that died, whoever was there."""

    def worker_died(self) -> None:
        """Comes before :meth:`lost` of those who were there, if anybody was."""
        self._deaths += 1

    def lost(self, sequence: Sequence) -> bool:
        """Its worker died. Whether it must be taken for the cause."""
        if not sequence.deaths:
            sequence.deaths_before = self._deaths - 1
        sequence.deaths += 1
        without_it = self._deaths - sequence.deaths_before - sequence.deaths
        was_alone = sequence is self._alone
        if was_alone:
            self._alone = None  # its turn is over, one way or the other
        return was_alone and sequence.deaths > MAX_DEATHS + without_it

    def holds(self, sequence: Sequence) -> bool:
        """Whether it runs alone: it is not to be parked before it has proven harmless."""
        return sequence is self._alone

    def suspected(self, sequence: Sequence) -> bool:
        """Whether it must run alone next time."""
        return sequence.deaths >= MAX_DEATHS

    def next(self) -> Sequence | None:
        """The suspect to be given to the reserved worker now, if there is one and it is empty."""
        if self._alone is None and self._queue.suspects and self._pool.reserve():
            self._alone = self._queue.next_suspect()
            return self._alone
        return None

    def leave(self, sequence: Sequence) -> None:
        """It gave a token or ended: it needs no worker of its own any more."""
        was_alone = sequence is self._alone
        if was_alone:
            self._alone = None
        if self._alone is None and not self._queue.suspects:
            was_alone = self._pool.release() or was_alone
        if was_alone:
            self._wake()
