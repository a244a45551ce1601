"""Laws of usage in a store: sums are added once, and read by hours and days."""

from gateway.core.usage_counts import UsageCounts, UsageKey, UsageQuestion, UsageSum
from gateway.stored.store import Store
from gateway.stored.usage_rows import UsageRows
from tests.support.store_laws.one_store import OneStore, Place

ONE = UsageCounts(1, 10, 4, 3)
TWO = ONE.plus(ONE)
BIG = UsageCounts(2**40, 2**50, 2**50, 2**50)
EVER = UsageQuestion("hour", 0, 10**7)


def rows(store: Store) -> UsageRows:
    return UsageRows(store.database, store.clock)


class UsageLaws(OneStore):
    """To be inherited."""

    async def test_sums_are_added(self, store: Store) -> None:
        usage = rows(store)
        at = UsageKey("a", "m", 500_000)
        for number in (1, 2):
            await usage.add("me", number, {at: ONE}, {("a", "2026-11"): 13}, [])
        await usage.add("you", 1, {at: BIG}, {("a", "2026-11"): 2**50}, [])
        assert await usage.read(EVER) == [UsageSum(500_000, "a", "m", TWO.plus(BIG))]
        wanted = {("a", "2026-11"), ("a", "2026-12"), ("b", "2026-11")}
        assert await usage.spent(wanted) == {("a", "2026-11"): 26 + 2**50}
        assert await usage.spent([]) == {}

    async def test_a_number_counts_once(self, store: Store) -> None:
        """The answer to the first try may have been lost after its commit."""
        usage = rows(store)
        batch = {UsageKey("a", "m", 1): ONE}, {("a", "1970-01"): 13}
        for _ in range(3):
            spent = await usage.add("me", 1, *batch, [("a", "1970-01")])
            assert spent == {("a", "1970-01"): 13}
        assert await usage.read(EVER) == [UsageSum(1, "a", "m", ONE)]

    async def test_many_rows_in_one_transaction(self, store: Store) -> None:
        usage = rows(store)
        sums = {UsageKey(f"key {n % 7}", "m" * 300, n): ONE for n in range(1300)}
        spent = {(f"key {n}", "1970-02"): n for n in range(1300)}
        assert await usage.add("me", 1, sums, spent, spent) == spent
        assert len(await usage.read(EVER._replace(limit=5000))) == 1300
        assert [each.at for each in await usage.read(EVER._replace(limit=3))] == [1299, 1298, 1297]

    async def test_days_keys_and_models(self, store: Store) -> None:
        usage = rows(store)
        sums = {
            UsageKey("", "m", 23): ONE,
            UsageKey("a", "m", 24): ONE,
            UsageKey("a", "m", 47): ONE,
            UsageKey("a", "%_", 47): ONE,
        }
        await usage.add("me", 1, sums, {}, [])
        day = EVER._replace(step="day")
        assert await usage.read(day) == [
            UsageSum(24, "a", "%_", ONE),
            UsageSum(24, "a", "m", TWO),
            UsageSum(0, "", "m", ONE),
        ]
        assert await usage.read(day._replace(owner="")) == [UsageSum(0, "", "m", ONE)]
        assert await usage.read(day._replace(model="%_")) == [UsageSum(24, "a", "%_", ONE)]
        assert await usage.read(day._replace(since=24, until=47)) == [UsageSum(24, "a", "m", ONE)]
        assert await usage.read(day._replace(owner="b")) == []

    async def test_what_is_too_old_goes(self, store: Store, place: Place) -> None:
        usage = rows(store)
        now = int(place.clock() // 3600)
        hours = {UsageKey("a", "m", now - age): ONE for age in (0, 47, 48, 49)}
        spent = {("a", "2001-01"): 1, ("a", "2001-01-31"): 1, ("a", "9999-01"): 1}
        await usage.add("me", 1, hours, spent, [])
        await usage.sweep(2)
        assert [now - each.at for each in await usage.read(EVER)] == [0, 47, 48]
        assert await usage.spent(spent) == {("a", "9999-01"): 1}
