"""The aging heap against a brute-force oracle that computes in Fractions."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.core.clock import NANO
from gateway.ordering.aging import AgingHeap, QueueEntry

RATES = st.one_of(
    st.sampled_from([0.0, 0.2, 1 / 3, 1.0, 1e-9, 5e-324, 1e6]),
    st.floats(0, 1e6, allow_nan=False),
)
# Tenths of a priority and of a second make ties common: at rate 0.2 half a second is 0.1.
PRIORITIES = st.one_of(
    st.integers(-30, 30).map(lambda tenths: tenths / 10),
    st.sampled_from([0.0, 1.0, 2.0, 0.5e-9, 1.5e-9, 1e-300, -1e300, 1.7e308]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**20), 10**20).map(float),
)
GAPS_NS = st.one_of(
    st.just(0), st.integers(0, 200).map(lambda tenths: tenths * NANO // 10), st.integers(0, 10**19)
)


def resolved(priority: float) -> Fraction:
    """The priority as the heap reads it: to 1e-9, half to even."""
    return Fraction(round(Fraction(priority) * NANO), NANO)


def effective(rate: float, priority: float, arrived_ns: int, now_ns: int) -> Fraction:
    """The seed's formula, exactly."""
    return resolved(priority) + Fraction(repr(rate)) * Fraction(now_ns - arrived_ns, NANO)


class AgainstOracle(RuleBasedStateMachine):
    """Any mix of push, pop, cancel and requeue, compared with sorting by the formula."""

    waiting = Bundle("waiting")
    popped = Bundle("popped")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.alive: dict[int, QueueEntry[int]] = {}
        self.given = 0

    @initialize(rate=RATES, start=st.integers(0, 10**18))
    def create(self, rate: float, start: int) -> None:
        self.rate, self.now = rate, start
        self.heap: AgingHeap[int] = AgingHeap(rate)

    def order(self, now: int) -> list[int]:
        """All waiting items as the formula orders them at ``now``."""

        def place(item: int) -> tuple[Fraction, int]:
            entry = self.alive[item]
            return -effective(self.rate, entry.priority, entry.arrived_ns, now), item

        return sorted(self.alive, key=place)

    @rule(target=waiting, priority=PRIORITIES, gap=GAPS_NS)
    def push(self, priority: float, gap: int) -> QueueEntry[int]:
        self.now += gap
        entry = self.heap.push(self.given, priority, self.now)
        self.alive[self.given] = entry
        self.given += 1
        return entry

    @precondition(lambda self: self.alive)
    @rule(target=popped, later=GAPS_NS)
    def pop(self, later: int) -> QueueEntry[int]:
        self.now += later
        expected = self.order(self.now)[0]
        entry = self.heap.pop()
        assert entry.item == expected
        del self.alive[entry.item]
        return entry

    @rule(entry=waiting)
    def cancel(self, entry: QueueEntry[int]) -> None:
        assert self.heap.cancel(entry) == (entry.item in self.alive)
        self.alive.pop(entry.item, None)

    @rule(target=waiting, entry=consumes(popped))
    def requeue(self, entry: QueueEntry[int]) -> QueueEntry[int]:
        # "waiting" still holds the entry from its push, so cancel() may meet it in either state.
        if entry.item in self.alive or entry.cancelled:
            with pytest.raises(ValueError, match="put back"):
                self.heap.requeue(entry)
        else:
            self.heap.requeue(entry)
            self.alive[entry.item] = entry
        return entry

    @rule(count=st.integers(0, 12), later=GAPS_NS)
    def look(self, count: int, later: int) -> None:
        """The order is the formula's at any instant, also at ones that are yet to come."""
        places = sorted(self.heap.waiting(), key=lambda entry: (entry.key, entry.order))
        assert [entry.item for entry in places[:count]] == self.order(self.now + later)[:count]

    @invariant()
    def counts(self) -> None:
        if not hasattr(self, "heap"):
            return
        assert len(self.heap) == len(self.alive)
        assert {entry.item for entry in self.heap.waiting()} == set(self.alive)

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            expected = self.order(self.now)
            assert [self.heap.pop().item for _ in range(len(self.heap))] == expected
            with pytest.raises(IndexError):
                self.heap.pop()


AgainstOracle.TestCase.settings = settings(max_examples=70, stateful_step_count=30, deadline=None)
TestAgainstOracle = AgainstOracle.TestCase


@settings(max_examples=200, deadline=None)
@given(rate=RATES, older=PRIORITIES, newer=PRIORITIES, gap=GAPS_NS)
@example(rate=0.2, older=1.0, newer=2.0, gap=5 * NANO)  # exactly d/r: a tie, the earlier wins
@example(rate=0.2, older=1.0, newer=2.0, gap=5 * NANO - 1)
@example(rate=0.2, older=1.0, newer=1.0, gap=0)
def test_overtaking_bound(rate: float, older: float, newer: float, gap: int) -> None:
    """A later job with d more priority overtakes iff it comes less than d/r seconds later."""
    heap: AgingHeap[str] = AgingHeap(rate)
    heap.push("older", older, 123)
    heap.push("newer", newer, 123 + gap)
    lead = resolved(newer) - resolved(older)
    # gap < d/r, multiplied out so that it also says what rate 0 means.
    overtakes = Fraction(repr(rate)) * Fraction(gap, NANO) < lead
    assert heap.pop().item == ("newer" if overtakes else "older")


def test_twenty_urgent_jobs_do_not_starve_a_normal_one() -> None:
    """The seed article's case: urgent jobs keep coming, one a second, served one a second."""
    heap: AgingHeap[str] = AgingHeap(0.2)
    heap.push("normal", 1, 0)
    for second in range(20):
        heap.push(f"urgent {second}", 2, second * NANO)
    order = [heap.pop().item for _ in range(21)]
    # It yields to those within 1/0.2 = 5 s of it, and to nobody after.
    assert order.index("normal") == 5
    assert [name for name in order if name != "normal"] == [f"urgent {n}" for n in range(20)]


def test_burst_of_urgent_jobs_goes_first() -> None:
    heap: AgingHeap[str] = AgingHeap(0.2)
    heap.push("normal", 1, 0)
    for _ in range(20):
        heap.push("urgent", 2, 1)
    assert [heap.pop().item for _ in range(21)] == ["urgent"] * 20 + ["normal"]


@pytest.mark.parametrize(
    ("waited_ns", "winner"),
    [(5 * NANO + 1, "normal"), (5 * NANO, "normal"), (5 * NANO - 1, "urgent"), (0, "urgent")],
)
def test_waiting_counts(waited_ns: int, winner: str) -> None:
    """In one version of the seed priorities are ints, `int += 0.2` truncates, nothing ages."""
    heap: AgingHeap[str] = AgingHeap(0.2)
    heap.push("normal", 1, 0)
    heap.push("urgent", 2, waited_ns)
    assert heap.pop().item == winner


def test_rate_zero_is_priority_then_arrival() -> None:
    heap: AgingHeap[str] = AgingHeap(0)
    for at, (name, priority) in enumerate([("a", 1), ("b", 2), ("c", 1), ("d", 0), ("e", 2)]):
        heap.push(name, priority, at * 10**15)
    assert [heap.pop().item for _ in range(5)] == ["b", "e", "a", "c", "d"]


def test_floats_would_tie_here() -> None:
    """After a month of uptime a float key resolves 0.2 * 1 ns no more; the integers do."""
    month = 30 * 86400 * NANO
    heap: AgingHeap[str] = AgingHeap(0.2)
    heap.push("later, by 1 ns less than the bound", 1 + 1e-9, month + 4)
    heap.push("first", 1, month)
    # 1e-9 more priority is worth 5 ns at this rate.
    assert heap.pop().item.startswith("later")
    heap.push("bound reached", 1 + 1e-9, month + 5)
    assert heap.pop().item == "first"


def test_requeued_job_keeps_its_place() -> None:
    heap: AgingHeap[str] = AgingHeap(0.2)
    heap.push("a", 1, 0)
    heap.push("b", 1, 0)
    entry = heap.pop()
    key, order = entry.key, entry.order
    heap.push("c", 1, 0)
    heap.requeue(entry)
    assert (entry.key, entry.order) == (key, order)
    assert [heap.pop().item for _ in range(3)] == ["a", "b", "c"]


def test_dead_entries_are_swept() -> None:
    """10^5 clients that give up leave next to nothing behind."""
    heap: AgingHeap[int] = AgingHeap(0.2)
    stays = heap.push(-1, 0, 0)
    for number in range(10**5):
        assert heap.cancel(heap.push(number, 2, number))
        assert len(heap._heap) <= 128
    assert len(heap) == 1
    assert heap.pop() is stays


def test_cancel_twice_and_after_pop() -> None:
    heap: AgingHeap[str] = AgingHeap(0.2)
    entry = heap.push("a", 1, 0)
    assert heap.cancel(entry)
    assert not heap.cancel(entry)
    with pytest.raises(ValueError, match="put back"):
        heap.requeue(entry)
    running = heap.push("b", 1, 0)
    assert heap.pop() is running
    assert not heap.cancel(running), "a job that runs is not in the queue"
    heap.requeue(running)
    with pytest.raises(ValueError, match="put back"):
        heap.requeue(running)


@pytest.mark.parametrize("priority", [math.nan, math.inf, -math.inf])
def test_priority_must_be_finite(priority: float) -> None:
    heap: AgingHeap[str] = AgingHeap(0.2)
    with pytest.raises((ValueError, OverflowError)):
        heap.push("x", priority, 0)
    assert len(heap) == 0
    assert heap.waiting() == []


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf])
def test_rate_must_be_finite_and_not_negative(rate: float) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - Fraction words the other two
        AgingHeap(rate)


def test_effective_priority_grows_with_the_wait() -> None:
    heap: AgingHeap[str] = AgingHeap(0.2)
    entry = heap.push("x", 1, 10 * NANO)
    assert heap.effective(entry, 10 * NANO) == 1
    assert heap.effective(entry, 15 * NANO) == pytest.approx(2)
    assert entry.waited(25 * NANO // 2) == 2.5
