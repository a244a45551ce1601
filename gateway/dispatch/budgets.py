"""Tokens a day and a month for each key. Pure: the clock is an argument.

A budget is what may be computed in a day or a calendar month, in UTC. A request is let in while
there is anything left, and runs to its end, whatever that takes: a budget that is used up ends new
requests alone. What is used is what ended, in this server and in the others of the same store, and
what the requests that run have computed so far: a hundred long answers at once are no way around.

An example with 1,000 tokens a day. Two streams have come to 400 and 580 tokens: a third is let in.
When the three have come to 1,000, the fourth is refused until midnight, and the three end well.
With the 1,300 tokens that they take in all, the day is overdrawn by 300; the next begins at 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.core.errors import BudgetUsedUp
from gateway.core.periods import DAY_S, Period, Periods, date_of, periods_of

if TYPE_CHECKING:
    from gateway.core.api_key import ApiKey
    from gateway.dispatch.ticket import Ticket

Spent = tuple[str, str]
"""A key's name and that of a period."""


class Budgets:
    """The budgets of all keys, and what is used of them."""

    def __init__(self, keys: Iterable[ApiKey], clock: Callable[[], float]) -> None:
        """``clock``: Unix seconds."""
        self._clock = clock
        self._limits: dict[str, tuple[int | None, int | None]] = {}
        self._running: dict[str, dict[int, Ticket]] = {}
        """Requests that were let in, of keys with a budget, by key and id."""
        self._here = Counter[Spent]()
        """Tokens of requests that ended here, and that :attr:`_stored` does not have."""
        self._stored: dict[Spent, int] = {}
        """The store's sums: of all servers, as of the last look."""
        self._periods = periods_of(0)
        self.update(keys)

    def update(self, keys: Iterable[ApiKey]) -> None:
        """Take the budgets of these keys instead of those before; what is used stays so."""
        limits = {key.name: (key.tokens_per_day, key.tokens_per_month) for key in keys}
        self._limits = {name: each for name, each in limits.items() if any(each)}
        self._running = {
            name: running for name, running in self._running.items() if name in self._limits
        }

    def limited(self) -> list[str]:
        """Return the names of the keys that have a budget."""
        return list(self._limits)

    def now(self) -> Periods:
        """Return the day and the month that it is."""
        now = self._clock()
        ends = self._periods.day.ends
        if not ends - DAY_S <= now < ends:
            self._turn(now)
        return self._periods

    def _turn(self, now: float) -> None:
        """Begin a day: the sums of those before are of no use."""
        self._periods = periods_of(now)
        kept = {period.name for period in self._periods}
        self._stored = {spent: n for spent, n in self._stored.items() if spent[1] in kept}

    def check(self, owner: str) -> None:
        """Raises :class:`BudgetUsedUp`; takes nothing."""
        limits = self._limits.get(owner)
        if limits is None:
            return
        day, month = self.now()
        running = self._computed(owner)
        for limit, period, word in ((limits[1], month, "month"), (limits[0], day, "day")):
            if limit is not None and self._ended(owner, period) + running >= limit:
                raise self._used_up(limit, period, word)

    def _used_up(self, limit: int, period: Period, word: str) -> BudgetUsedUp:
        return BudgetUsedUp(
            f"this key may use {limit} tokens per {word}, and they are used up until "
            f"{date_of(period.ends).name} 00:00 UTC",
            retry_after=max(1, math.ceil(period.ends - self._clock())),
        )

    def used(self, owner: str) -> tuple[int, int]:
        """Return the tokens of this day and of this month, as :meth:`check` counts them."""
        running = self._computed(owner)
        day, month = self.now()
        return self._ended(owner, day) + running, self._ended(owner, month) + running

    def _ended(self, owner: str, period: Period) -> int:
        spent = owner, period.name
        return self._stored.get(spent, 0) + self._here[spent]

    def _computed(self, owner: str) -> int:
        """Return the tokens of the requests that run, so far."""
        running = self._running.get(owner)
        return sum(ticket.tokens for ticket in running.values()) if running else 0

    def began(self, ticket: Ticket) -> None:
        """Note that a request was let in."""
        owner = ticket.job.owner
        if owner in self._limits and not ticket.ended:
            self._running.setdefault(owner, {})[ticket.id] = ticket

    def ended(self, ticket: Ticket, tokens: int) -> None:
        """Count a request that was let in and has ended, in whatever way."""
        owner = ticket.job.owner
        running = self._running.get(owner)
        if running is not None:
            running.pop(ticket.id, None)
            if not running:
                del self._running[owner]
        if tokens:
            day, month = self.now()
            self._here[owner, day.name] += tokens
            self._here[owner, month.name] += tokens

    def unstored(self) -> dict[Spent, int]:
        """Return a copy of what the store has not heard of."""
        return dict(self._here)

    def stored(self, told: Mapping[Spent, int], sums: Mapping[Spent, int]) -> None:
        """Note that the store was ``told``, and that its sums are these since."""
        for spent, tokens in told.items():
            left = self._here[spent] - tokens
            if left:
                self._here[spent] = left
            else:
                del self._here[spent]
        self._stored = {**sums}
