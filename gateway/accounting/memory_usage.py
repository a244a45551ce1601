"""Usage of a server without a store: since its start, in memory."""

from collections.abc import Callable, Collection, Mapping

from gateway.accounting.ledger import merged
from gateway.accounting.steps import summed
from gateway.core.periods import hour_of, month_before
from gateway.core.usage_counts import UsageCounts, UsageKey, UsageQuestion, UsageSum

MOST = 50_000
"""Sums that are kept; of more the oldest hours go."""

Spent = tuple[str, str]


class MemoryUsage:
    """The same as :class:`gateway.stored.usage_rows.UsageRows`, of this process alone."""

    def __init__(self, clock: Callable[[], float], most: int = MOST) -> None:
        self._clock, self._most = clock, most
        self._hours: dict[UsageKey, UsageCounts] = {}
        self._spent: dict[Spent, int] = {}

    async def add(
        self,
        writer: str,
        number: int,
        sums: Mapping[UsageKey, UsageCounts],
        spent: Mapping[Spent, int],
        wanted: Collection[Spent],
    ) -> dict[Spent, int]:
        """Add sums, and return what is spent of ``wanted``."""
        self._hours = merged((self._hours, sums))
        for each, tokens in spent.items():
            self._spent[each] = self._spent.get(each, 0) + tokens
        if len(self._hours) > self._most:
            newest = sorted(self._hours, key=lambda at: at.hour)[-self._most :]
            self._hours = {at: self._hours[at] for at in newest}
        return await self.spent(wanted)

    async def spent(self, wanted: Collection[Spent]) -> dict[Spent, int]:
        """Return what is spent of ``wanted``."""
        return {each: self._spent[each] for each in wanted if each in self._spent}

    async def read(self, asked: UsageQuestion) -> list[UsageSum]:
        """Return sums, the newest first."""
        return summed(self._hours, asked)

    async def sweep(self, days: int) -> None:
        """Forget hours that are older than so many days, and what no budget needs."""
        now = self._clock()
        oldest, month = hour_of(now) - days * 24, month_before(now)
        self._hours = {at: each for at, each in self._hours.items() if at.hour >= oldest}
        self._spent = {at: each for at, each in self._spent.items() if at[1] >= month}
