"""Taking slots away: which sequences are asked to yield, and when to look again.

Spare ones come first: as many of them are asked as others wait, so that each of these has its slot
after one step. Where none runs, one sequence at a time is asked by the rules of preemption. Not
pure: it has a timer.
"""

import asyncio
from collections.abc import Callable, Iterable

from gateway.core.clock import NANO
from gateway.dispatch.sequence import Sequence
from gateway.ordering.preemption import PreemptionRules, spare_victims
from gateway.pool import Pool


class Preemptor:
    """Of ordinary sequences one is asked at a time: the answer comes within a decode step."""

    def __init__(self, pool: Pool, rules: PreemptionRules | None, wake: Callable[[], None]) -> None:
        """``rules`` None lets all ordinary sequences run to the end.

        ``wake`` is called to look again.
        """
        self._pool = pool
        self._rules = rules
        self._wake = wake
        self._asked: Sequence | None = None
        """Sequence that was asked to yield its slot and has not answered yet."""
        self._spare_asked: dict[int, int] = {}
        """Spare ones that were asked: the attempt of each, by its id."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def quiet(self) -> bool:
        """True if no sequence is asked to yield."""
        return self._asked is None and not self._spare_asked

    def ask_spare(self, running: Iterable[Sequence], waiting: int) -> bool:
        """Ask spare sequences to yield to as many that wait; True while an answer is to come."""
        candidates = [s for s in running if s.job.spare and s.id not in self._spare_asked]
        for victim in spare_victims(candidates, waiting - len(self._spare_asked)):
            self._spare_asked[victim.id] = victim.attempt
            self._pool.park(victim.id)
        return bool(self._spare_asked)

    def ask(self, running: Iterable[Sequence], urgent: float | None, now_ns: int) -> None:
        """Ask a running sequence to yield, if a waiting one of that priority has the right."""
        if self._rules is None or self._asked is not None or urgent is None:
            return
        victim, wait_ns = self._rules.victim(running, urgent, now_ns)
        if victim is not None:
            self._asked = victim
            self._pool.park(victim.id)
        elif wait_ns:
            if self._timer is not None:
                self._timer.cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_ns / NANO, self._wake)

    def answered(self, id_: int, attempt: int) -> bool:
        """A generation left its slot, in whatever way; whether it is the one that was asked."""
        if self._spare_asked.get(id_) == attempt:
            del self._spare_asked[id_]
            return True
        asked = self._asked
        if asked is None or (asked.id, asked.attempt) != (id_, attempt):
            return False
        self._asked = None
        return True

    def lost(self, id_: int) -> None:
        """Note that its worker died: there will be no answer."""
        self._spare_asked.pop(id_, None)
        if self._asked is not None and self._asked.id == id_:
            self._asked = None

    def overdue_ns(self, sequence: Sequence, urgent: float, now_ns: int) -> int | None:
        """The time from which a sequence parked now goes before all others; None: never."""
        rules = self._rules
        return None if rules is None else rules.overdue_ns(sequence, urgent, now_ns)
