"""Usage that the store has not heard of yet: sums by key, model and hour. Pure.

A request is added when it ends; all that was added goes to the store at once, every few seconds.
While that fails (the disk is full, the database does not answer) the sums stay here, and grow by
the pairs of a key and a model in each hour. Above a bound a further hour of a pair is added to the
newest that the pair has here: then the hours are coarse, and no token is lost.
"""

from collections.abc import Iterable, Mapping

from gateway.core.usage_counts import NOTHING, UsageCounts, UsageKey

MOST = 20_000
"""Sums that are kept before hours become coarse: of 20 pairs, those of six weeks."""


class Ledger:
    """Sums that :meth:`take` gives stay here until :meth:`taken`, and are given again until then.

    The same sums again, without what came since: a store that took them, but whose answer was
    lost, knows them by their number.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._new: dict[UsageKey, UsageCounts] = {}
        self._leaving: dict[UsageKey, UsageCounts] = {}
        self._newest: dict[tuple[str, str], int] = {}
        """The newest hour of each pair in ``_new``."""

    def __len__(self) -> int:
        return len(self._new) + len(self._leaving)

    def add(self, owner: str, model: str, hour: int, counts: UsageCounts) -> None:
        """Add what a request used."""
        at = UsageKey(owner, model, hour)
        before = self._new.get(at)
        if before is None:
            at = self._place(at)
            before = self._new.get(at, NOTHING)
            self._newest[owner, model] = at.hour
        self._new[at] = before.plus(counts)

    def _place(self, at: UsageKey) -> UsageKey:
        """Return where a new sum goes, which may be to an older one."""
        newest = self._newest.get((at.owner, at.model))
        if len(self._new) < self._most or newest is None:
            return at  # a pair's first sum always has a place: pairs are the operator's to bound
        return at._replace(hour=newest)

    def take(self) -> dict[UsageKey, UsageCounts]:
        """Return sums for the store, or those of the last call, if it has not heard of them."""
        if not self._leaving:
            self._leaving, self._new = self._new, {}
            self._newest.clear()
        return self._leaving

    def taken(self) -> None:
        """Forget what :meth:`take` gave: the store has it."""
        self._leaving = {}

    def sums(self) -> Mapping[UsageKey, UsageCounts]:
        """Return all that the store has not confirmed."""
        return merged((self._leaving, self._new))


def merged(several: Iterable[Mapping[UsageKey, UsageCounts]]) -> dict[UsageKey, UsageCounts]:
    """Return the sums of all."""
    found: dict[UsageKey, UsageCounts] = {}
    for sums in several:
        for at, counts in sums.items():
            found[at] = found.get(at, NOTHING).plus(counts)
    return found
