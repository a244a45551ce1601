"""Turns between owners: the promises of start-time fair queueing."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.ordering.fairness import Turns, charge

NORMAL = 1.0


def drain(turns: Turns[str], count: int) -> list[str]:
    return [turns.take(NORMAL) for _ in range(count)]


def test_one_owner_alone_is_first_come_first_served() -> None:
    turns: Turns[str] = Turns()
    for name, cost in zip("abcdef", (5, 1, 900, 2, 70, 3), strict=True):
        turns.enter(name, NORMAL, "me", cost)
    assert list(turns.order(NORMAL)) == list("abcdef")
    assert drain(turns, 6) == list("abcdef")


def test_a_thousand_jobs_do_not_bury_one() -> None:
    turns: Turns[str] = Turns()
    for number in range(1000):
        turns.enter(f"flood {number}", NORMAL, "flood", 10)
    drain(turns, 5)
    turns.enter("single", NORMAL, "other", 10)
    assert "single" in drain(turns, 2)


def test_turns_follow_cost_and_weight() -> None:
    """Short jobs of one owner, long ones of another, and a third who counts twice."""
    turns: Turns[str] = Turns()
    for number in range(600):
        turns.enter(f"short {number}", NORMAL, "short", charge(10, 1))
        turns.enter(f"long {number}", NORMAL, "long", charge(40, 1))
        turns.enter(f"double {number}", NORMAL, "double", charge(10, 2))
    served = Counter(name.split()[0] for name in drain(turns, 650))
    tokens = {"short": served["short"] * 10, "long": served["long"] * 40}
    assert tokens["short"] == pytest.approx(tokens["long"], abs=40)
    assert served["double"] == pytest.approx(2 * served["short"], abs=4)


def test_idle_time_earns_no_credit() -> None:
    """A late owner gets its share from then on, not what it did not use before."""
    turns: Turns[str] = Turns()
    for number in range(100):
        turns.enter(f"a {number}", NORMAL, "a", 10)
    drain(turns, 50)
    for number in range(50):
        turns.enter(f"b {number}", NORMAL, "b", 10)
    served = Counter(name[0] for name in drain(turns, 20))
    assert abs(served["a"] - served["b"]) <= 1


def test_real_cost_corrects_the_estimate() -> None:
    """An owner that said 10 and took 100 waits until the others have had theirs."""
    turns: Turns[str] = Turns()
    for number in range(30):
        turns.enter(f"a {number}", NORMAL, "a", 10)
        turns.enter(f"b {number}", NORMAL, "b", 10)
    assert drain(turns, 2) == ["a 0", "b 0"]
    turns.settle(NORMAL, "a", 90)
    turns.settle(NORMAL, "b", 0)
    assert drain(turns, 9) == [f"b {n}" for n in range(1, 10)]
    assert set(drain(turns, 2)) == {"a 1", "b 10"}


def test_debt_outlives_an_empty_lane_and_ends_with_the_busy_time() -> None:
    turns: Turns[str] = Turns()
    turns.enter("a 0", NORMAL, "a", 10)
    for number in range(5):
        turns.enter(f"b {number}", NORMAL, "b", 10)
    assert drain(turns, 1) == ["a 0"]
    turns.settle(NORMAL, "a", 25)
    turns.enter("a 1", NORMAL, "a", 10)
    assert drain(turns, 5) == ["b 0", "b 1", "b 2", "b 3", "a 1"], "35 are owed first"
    drain(turns, 1)
    for owner in "abbbbb":
        turns.settle(NORMAL, owner, 0)
    assert turns._classes == {}, "nobody waits and nobody runs: nothing is remembered"


def test_who_loses_a_place_is_at_the_end_of_the_longest_line() -> None:
    turns: Turns[str] = Turns()
    for name in ("flood 1", "flood 2", "flood 3"):
        turns.enter(name, NORMAL, "flood", 10)
    turns.enter("single", NORMAL, "other", 10)
    assert turns.last(NORMAL, lambda _: True) == "flood 3"
    assert turns.last(NORMAL, lambda name: not name.startswith("flood")) == "single"
    assert turns.last(NORMAL, lambda _: False) is None


def test_a_correction_does_not_depend_on_when_the_next_job_comes() -> None:
    """Virtual time has passed the owner by: part of what it owes was paid by waiting."""
    orders = []
    for early in (True, False):
        turns: Turns[str] = Turns()
        turns.enter("a 0", NORMAL, "a", 10)
        for number in range(60):
            turns.enter(f"b {number}", NORMAL, "b", 10)
        drain(turns, 51)
        if early:
            turns.enter("a 1", NORMAL, "a", 10)
        turns.settle(NORMAL, "a", 90)
        if not early:
            turns.enter("a 1", NORMAL, "a", 10)
        orders.append(list(turns.order(NORMAL)))
    assert orders[0] == orders[1]


JOBS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), min_size=30, max_size=120)


@settings(max_examples=100, deadline=None)
@given(jobs=JOBS, weights=st.fixed_dictionaries(dict.fromkeys("abc", st.integers(1, 4))))
def test_shares_differ_by_no_more_than_two_jobs(
    jobs: list[tuple[str, int]], weights: dict[str, int]
) -> None:
    """While two owners both wait, what each got (by weight) differs by one job of each at most.

    The bound of the paper (theorem 1): l_f / w_f + l_m / w_m.
    """
    turns: Turns[tuple[int, str, int]] = Turns()
    for number, (owner, tokens) in enumerate(jobs):
        turns.enter((number, owner, tokens), NORMAL, owner, charge(tokens, weights[owner]))
    left = Counter(owner for owner, _ in jobs)
    got = dict.fromkeys("abc", 0)
    largest = {o: max((charge(t, weights[o]) for w, t in jobs if w == o), default=0) for o in "abc"}
    while all(left[owner] for owner in "ab"):
        _, owner, tokens = turns.take(NORMAL)
        left[owner] -= 1
        got[owner] += charge(tokens, weights[owner])
        if all(left[owner] for owner in "ab"):
            assert abs(got["a"] - got["b"]) <= largest["a"] + largest["b"]


class Books(RuleBasedStateMachine):
    """Jobs that come, go, are served and settled: none is lost, and the order told is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[tuple[int, float, str]] = Turns()
        self.numbers = count()
        self.waiting: dict[tuple[int, float, str], int] = {}
        self.served: list[tuple[int, float, str]] = []

    @rule(
        priority=st.sampled_from([0.0, 1.0]), owner=st.sampled_from("abc"), cost=st.integers(0, 50)
    )
    def enter(self, priority: float, owner: str, cost: int) -> None:
        job = next(self.numbers), priority, owner
        self.turns.enter(job, priority, owner, cost)
        self.waiting[job] = cost

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 99))
    def leave(self, pick: int) -> None:
        job = list(self.waiting)[pick % len(self.waiting)]
        self.turns.leave(job, job[1], job[2])
        del self.waiting[job]

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0, 99))
    def take(self, pick: int) -> None:
        priority = list(self.waiting)[pick % len(self.waiting)][1]
        expected = next(self.turns.order(priority))
        job = self.turns.take(priority)
        assert job == expected
        older = [j for j in self.waiting if j[1:] == job[1:] and j[0] < job[0]]
        assert older == [], "an owner's own jobs keep their order"
        del self.waiting[job]
        self.served.append(job)

    @precondition(lambda self: self.served)
    @rule(pick=st.integers(0, 99), difference=st.integers(-50, 200))
    def settle(self, pick: int, difference: int) -> None:
        _, priority, owner = self.served.pop(pick % len(self.served))
        self.turns.settle(priority, owner, difference)

    @invariant()
    def everybody_is_in_the_order(self) -> None:
        for priority in (0.0, 1.0):
            expected = {job for job in self.waiting if job[1] == priority}
            order = list(self.turns.order(priority))
            assert len(order) == len(expected)
            assert set(order) == expected
            if expected:
                assert self.turns.last(priority, lambda _: True) in expected

    @invariant()
    def memory_ends_with_the_work(self) -> None:
        assert self.waiting or self.served or self.turns._classes == {}


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
