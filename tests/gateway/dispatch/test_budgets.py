"""Budgets of a day and a month, against a model that adds everything up anew each time."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.api_key import ApiKey
from gateway.core.errors import BudgetUsedUp
from gateway.core.periods import periods_of
from gateway.dispatch.budgets import Budgets
from gateway.dispatch.job import Job
from gateway.dispatch.ticket import Ticket
from workers.protocol import GenerationParams, Sampling, Started, Text

DAY = 86400
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
"""Twelve hours before a day and a month end."""
JOB = Job((Text("hello"),), GenerationParams(Sampling(1)), 1.0, 0.0, owner="app")


class Clock:
    """Unix seconds that only the test makes pass."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def key(**budgets: int) -> ApiKey:
    return ApiKey("app", b"", **budgets)  # type: ignore[arg-type]


def ticket(id_: int, tokens: int = 0) -> Ticket:
    """Return a request that has come to so many tokens, of which one is its prompt's."""
    made = Ticket(id_, JOB, 0)
    grow(made, tokens)
    return made


def grow(of: Ticket, tokens: int) -> None:
    (sequence,) = of.sequences
    if tokens:
        sequence.started = Started(of.id, 1, 1, 0)
        sequence.ids = [7] * (tokens - 1)


def end(budgets: Budgets, of: Ticket) -> None:
    of.ended_ns = 1
    budgets.ended(of, of.usage.prompt + of.usage.completion)


def refusal(budgets: Budgets) -> BudgetUsedUp | None:
    try:
        budgets.check("app")
    except BudgetUsedUp as error:
        return error
    return None


def test_a_budget_is_used_up_until_the_day_ends() -> None:
    clock = Clock()
    budgets = Budgets([key(tokens_per_day=100)], clock)
    end(budgets, ticket(1, 99))
    assert refusal(budgets) is None
    end(budgets, ticket(2, 1))
    refused = refusal(budgets)
    assert refused is not None
    assert (refused.status, refused.code, refused.retry_after) == (429, "insufficient_quota", 43200)
    assert "100 tokens per day" in refused.message
    assert "2026-12-01 00:00 UTC" in refused.message
    clock.now += 43199.5
    refused = refusal(budgets)
    assert refused is not None
    assert refused.retry_after == 1
    clock.now += 0.5
    assert refusal(budgets) is None
    assert budgets.used("app") == (0, 0)


def test_of_two_budgets_that_are_used_up_the_later_end_is_told() -> None:
    clock = Clock(datetime(2026, 12, 15, tzinfo=UTC).timestamp())
    budgets = Budgets([key(tokens_per_day=10, tokens_per_month=10)], clock)
    end(budgets, ticket(1, 10))
    refused = refusal(budgets)
    assert refused is not None
    assert "per month" in refused.message
    assert refused.retry_after == 17 * DAY


def test_requests_that_run_count_with_what_they_have() -> None:
    budgets = Budgets([key(tokens_per_day=100)], Clock())
    running = [ticket(1), ticket(2)]
    for each in running:
        budgets.began(each)
    assert refusal(budgets) is None
    grow(running[0], 60)
    grow(running[1], 40)
    assert refusal(budgets) is not None
    grow(running[0], 90)
    for each in running:
        end(budgets, each)
    assert budgets.used("app") == (130, 130)


def test_keys_without_a_budget_are_never_refused() -> None:
    budgets = Budgets([ApiKey("other", b""), key(tokens_per_day=1)], Clock())
    for _ in range(3):
        budgets.check("other")
        budgets.check("")
    assert budgets.limited() == ["app"]


def test_a_budget_that_is_given_later_counts_what_was_used_before() -> None:
    budgets = Budgets([key()], Clock())
    end(budgets, ticket(1, 50))
    budgets.update([key(tokens_per_month=50)])
    assert refusal(budgets) is not None
    budgets.update([key(tokens_per_month=51)])
    assert refusal(budgets) is None
    budgets.update([])
    assert refusal(budgets) is None


def test_other_servers_count_when_the_store_tells() -> None:
    budgets = Budgets([key(tokens_per_day=100)], Clock())
    end(budgets, ticket(1, 30))
    told = budgets.unstored()
    assert told == {("app", "2026-11-30"): 30, ("app", "2026-11"): 30}
    end(budgets, ticket(2, 5))
    budgets.stored(told, {("app", "2026-11-30"): 95, ("app", "2026-11"): 2000})
    assert budgets.used("app") == (100, 2005)
    assert budgets.unstored() == {("app", "2026-11-30"): 5, ("app", "2026-11"): 5}
    assert refusal(budgets) is not None


class BudgetsMachine(RuleBasedStateMachine):
    """Requests of one key begin, grow and end, days pass, and a store takes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.limits: dict[str, Any] = {"tokens_per_day": 50, "tokens_per_month": 120}
        self.budgets = Budgets([key(**self.limits)], self.clock)
        self.running: dict[int, Ticket] = {}
        self.ended = list[tuple[float, int]]()
        self.store: dict[tuple[str, str], int] = {}
        self.number = 0

    @rule()
    def begin(self) -> None:
        self.number += 1
        self.running[self.number] = ticket(self.number)
        self.budgets.began(self.running[self.number])

    @precondition(lambda self: self.running)
    @rule(data=st.data(), tokens=st.integers(0, 40))
    def grow(self, data: st.DataObject, tokens: int) -> None:
        grow(self.running[data.draw(st.sampled_from(sorted(self.running)))], tokens)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        gone = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.ended.append((self.clock.now, gone.usage.prompt + gone.usage.completion))
        end(self.budgets, gone)

    @rule(seconds=st.sampled_from([1, 3600, DAY, 20 * DAY]))
    def sleep(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(others=st.integers(0, 20))
    def flush(self, others: int) -> None:
        """The store adds what it is told, and what another server told it just before."""
        told = self.budgets.unstored()
        for spent, tokens in told.items():
            self.store[spent] = self.store.get(spent, 0) + tokens
        self.ended.append((self.clock.now, others))
        for period in periods_of(self.clock.now):
            at = "app", period.name
            self.store[at] = self.store.get(at, 0) + others
        wanted = {("app", period.name) for period in self.budgets.now()}
        self.budgets.stored(told, {at: n for at, n in self.store.items() if at in wanted})

    @rule(day=st.none() | st.integers(1, 100), month=st.none() | st.integers(1, 200))
    def limit(self, day: int | None, month: int | None) -> None:
        """One budget at least: of a key without any, the requests that run are not followed."""
        self.limits = {"tokens_per_day": day, "tokens_per_month": month or 100}
        self.budgets.update([key(**self.limits)])

    @invariant()
    def it_is_used_up_when_the_sums_say_so(self) -> None:
        usages = [each.usage for each in self.running.values()]
        running = sum(usage.prompt + usage.completion for usage in usages)
        periods = periods_of(self.clock.now)
        used = [
            sum(tokens for at, tokens in self.ended if periods_of(at)[which].name == period.name)
            for which, period in enumerate(periods)
        ]
        limits = self.limits["tokens_per_day"], self.limits["tokens_per_month"]
        over = [
            limit is not None and n + running >= limit
            for limit, n in zip(limits, used, strict=True)
        ]
        refused = refusal(self.budgets)
        assert (refused is not None) == any(over)
        assert self.budgets.used("app") == (used[0] + running, used[1] + running)
        if refused is not None:
            later = max(period.ends for period, each in zip(periods, over, strict=True) if each)
            assert refused.retry_after == later - self.clock.now


TestBudgets = BudgetsMachine.TestCase


def test_a_refusal_is_raised() -> None:
    budgets = Budgets([key(tokens_per_day=1)], Clock())
    end(budgets, ticket(1, 1))
    with pytest.raises(BudgetUsedUp):
        budgets.check("app")
