"""Sums on their way to the store: none is lost or given twice, and their number is bounded."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.accounting.ledger import Ledger, merged
from gateway.accounting.steps import joined, summed
from gateway.core.usage_counts import NOTHING, UsageCounts, UsageKey, UsageQuestion, UsageSum

ONE = UsageCounts(1, 10, 4, 3)
MOST = 6


def total(sums: dict[UsageKey, UsageCounts]) -> UsageCounts:
    found = NOTHING
    for each in sums.values():
        found = found.plus(each)
    return found


class LedgerMachine(RuleBasedStateMachine):
    """A store that takes sums, or does not, and hours that pass meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(MOST)
        self.hour = 100
        self.added = self.stored = NOTHING
        self.given: dict[UsageKey, UsageCounts] | None = None

    @rule(owner=st.sampled_from(["", "a"]), model=st.sampled_from(["m", "n"]))
    def add(self, owner: str, model: str) -> None:
        self.ledger.add(owner, model, self.hour, ONE)
        self.added = self.added.plus(ONE)

    @rule()
    def an_hour_passes(self) -> None:
        self.hour += 1

    @rule()
    def the_store_fails(self) -> None:
        sums = self.ledger.take()
        assert not self.given or sums == self.given, "the same sums until they are stored"
        self.given = dict(sums)

    @rule()
    def the_store_takes_them(self) -> None:
        sums = dict(self.ledger.take())
        assert not self.given or sums == self.given
        self.stored = self.stored.plus(total(sums))
        self.ledger.taken()
        self.given = None

    @invariant()
    def nothing_is_lost(self) -> None:
        here = self.ledger.sums()
        assert self.stored.plus(total(dict(here))) == self.added
        # What is on its way, what came since, and a first sum for each pair at least.
        assert len(self.ledger) <= 2 * (MOST + 4)


TestLedger = LedgerMachine.TestCase


def test_hours_become_coarse_above_the_bound() -> None:
    ledger = Ledger(2)
    for hour in range(10):
        ledger.add("a", "m", hour, ONE)
    ledger.add("b", "m", 9, ONE)
    assert dict(ledger.sums()) == {
        UsageKey("a", "m", 0): ONE,
        UsageKey("a", "m", 1): UsageCounts(9, 90, 36, 27),
        UsageKey("b", "m", 9): ONE,
    }


def test_hours_are_added_up_to_days() -> None:
    hours = merged(
        [
            {UsageKey("a", "m", 23): ONE, UsageKey("a", "m", 24): ONE},
            {UsageKey("a", "m", 47): ONE, UsageKey("b", "n", 47): ONE},
        ]
    )
    two = ONE.plus(ONE)
    every = [UsageSum(24, "a", "m", two), UsageSum(24, "b", "n", ONE), UsageSum(0, "a", "m", ONE)]
    assert summed(hours, UsageQuestion("day", 0, 48)) == every
    assert summed(hours, UsageQuestion("day", 24, 48)) == every[:2]
    assert summed(hours, UsageQuestion("day", 0, 48, owner="b")) == [every[1]]
    assert summed(hours, UsageQuestion("day", 0, 48, model="m")) == [every[0], every[2]]
    assert summed(hours, UsageQuestion("day", 0, 48, limit=1)) == every[:1]
    assert len(summed(hours, UsageQuestion("hour", 0, 48))) == 4
    assert joined([*every, *every], 1) == [UsageSum(24, "a", "m", two.plus(two))]
