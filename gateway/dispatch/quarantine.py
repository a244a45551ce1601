"""Sequences that may be killing workers: each gets a worker of its own.

Whatever was computed beside a killer died as often as the killer, so the count of deaths alone
condemns no sequence. Run alone, the killer kills again and fails; the others give a token, and are
clear. Where workers die without the suspect too, its presence at some deaths explains little: each
death without it, from half a minute before its first one on, weighs as much as a death with it,
unless another sequence was found to have caused it.

An example: X and Y share a worker, and it dies three times. Both are suspects (MAX_DEATHS = 3) and
wait off the heap. X runs first, alone, and gives a token: it is clear and goes on among the others.
Y runs alone, and a fourth worker dies: 4 > 3, Y fails. Had two workers without Y died meanwhile,
5 deaths would have been allowed, and Y would run again.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Row
from dataclasses import dataclass

from gateway.core.clock import NANO
from gateway.dispatch.queues import Queues
from gateway.dispatch.sequence import Sequence
from gateway.pool import Pool

MAX_DEATHS = 3
"""A sequence that saw this many workers die without giving a token in between is suspected."""

BEFORE_NS = 30 * NANO
"""Time before a sequence's first death in which others still say something about the times."""
REMEMBERED = 1000
"""Deaths looked back on."""


@dataclass(slots=True)
class _Death:
    """One worker's."""

    at_ns: int
    present: frozenset[int]
    explained: bool = False
    """True if one of the sequences present was found to have caused it."""


@dataclass(slots=True)
class _Seen:
    """Workers that died with one sequence since it last gave a token."""

    first_ns: int
    count: int = 0


class Quarantine:
    """One suspect at a time has a worker to itself; the others wait in the queue, off the heap."""

    def __init__(self, pool: Pool, queue: Queues, wake: Callable[[], None]) -> None:
        """``wake`` is called when more can be dispatched than before."""
        self._pool = pool
        self._queue = queue
        self._wake = wake
        self._alone: Sequence | None = None
        """The suspect that runs now, until it has given a token or left its slot."""
        self._deaths: deque[_Death] = deque(maxlen=REMEMBERED)
        self._seen: dict[int, _Seen] = {}
        """Deaths that a sequence was present at since its last token, by its id."""

    def worker_died(self, ids: Row[int], now_ns: int) -> None:
        """Note a death; :meth:`lost` follows for each sequence that was there."""
        self._deaths.append(_Death(now_ns, frozenset(ids)))

    def lost(self, sequence: Sequence, now_ns: int) -> bool:
        """Return whether a sequence must be taken for the cause of its worker's death."""
        seen = self._seen.setdefault(sequence.id, _Seen(now_ns))
        seen.count += 1
        if sequence is not self._alone:
            return False
        self._alone = None  # its turn is over, one way or the other
        since = seen.first_ns - BEFORE_NS
        recent = [death for death in self._deaths if death.at_ns >= since and not death.explained]
        present = [death for death in recent if sequence.id in death.present]
        if seen.count <= MAX_DEATHS + len(recent) - len(present):
            return False
        for death in present:
            death.explained = True
        return True

    def holds(self, sequence: Sequence) -> bool:
        """Return whether it runs alone: it is not to be parked before it has proven harmless."""
        return sequence is self._alone

    def suspected(self, sequence: Sequence) -> bool:
        """Return whether it must run alone next time."""
        return self.deaths(sequence) >= MAX_DEATHS

    def deaths(self, sequence: Sequence) -> int:
        """Workers that died with this sequence since it last gave a token."""
        seen = self._seen.get(sequence.id)
        return 0 if seen is None else seen.count

    def next(self) -> Sequence | None:
        """The suspect to be given to the reserved worker now, if there is one and it is empty."""
        if self._alone is not None:
            return None
        if not self._queue.suspects:
            self._pool.release()  # spare suspects want none while something else waits
            return None
        if not self._pool.reserve():
            return None
        self._alone = self._queue.next_suspect()
        return self._alone

    def clear(self, sequence: Sequence) -> None:
        """Note that it gave a token. If others wait for its worker, it goes on elsewhere."""
        if self._seen:
            self._seen.pop(sequence.id, None)
        if sequence is not self._alone:
            return  # nearly every token there is
        if self._queue.suspects:
            self._pool.park(sequence.id)
        self.leave(sequence)

    def ended(self, sequence: Sequence) -> None:
        """Note that it has ended, in whatever way."""
        self._seen.pop(sequence.id, None)
        self.leave(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Note that it left its slot, or needs no worker of its own any more."""
        was_alone = sequence is self._alone
        if was_alone:
            self._alone = None
        if self._alone is None and not self._queue.suspects:
            was_alone = self._pool.release() or was_alone
        if was_alone:
            self._wake()
