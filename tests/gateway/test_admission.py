"""Bounds on the queue, and who makes way: against a list that is sorted anew each time."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.admission import RETRY_MAX_S, Admission, Bounds, Full, ServiceRate
from gateway.aging import NANO, AgingHeap, Waiting

BOUNDS = Bounds(requests=4, size=100)


class Door(RuleBasedStateMachine):
    """Jobs come, are started, give up, and make way for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.admission: Admission[int] = Admission(BOUNDS)
        self.heap: AgingHeap[int] = AgingHeap(0.2)
        self.inside: dict[Waiting[int], int] = {}
        self.now = 0

    @rule(
        priority=st.sampled_from([0.0, 1.0, 2.0]),
        size=st.integers(0, 110),
        gap=st.integers(0, 6),
    )
    def offer(self, priority: float, size: int, gap: int) -> None:
        self.now += gap * NANO
        key = self.heap.key(priority, self.now)
        expected = self.must_go(key, size)
        if expected is None:
            with pytest.raises(Full):
                self.admission.offer(key, size)
            return
        assert self.admission.offer(key, size) == expected
        for victim in expected:
            self.leave(victim)
        entry = self.heap.push(0, priority, self.now)
        self.admission.enter(entry, size)
        self.inside[entry] = size

    def must_go(self, key: int, size: int) -> list[Waiting[int]] | None:
        """The oracle: the last in the order go first, until the newcomer fits."""
        left = sorted(self.inside, key=lambda entry: (entry.key, entry.order))
        victims: list[Waiting[int]] = []
        while len(left) >= BOUNDS.requests or sum(map(self.inside.get, left), size) > BOUNDS.size:  # type: ignore[arg-type]
            if not left or left[-1].key <= key:
                return None
            victims.append(left.pop())
        return victims

    @precondition(lambda self: self.inside)
    @rule(pick=st.integers(0, 99))
    def start_or_give_up(self, pick: int) -> None:
        self.leave(list(self.inside)[pick % len(self.inside)])

    def leave(self, entry: Waiting[int]) -> None:
        self.admission.leave(entry)
        self.admission.leave(entry)  # a second time changes nothing
        del self.inside[entry]

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.admission) == len(self.inside) <= BOUNDS.requests
        assert self.admission.size == sum(self.inside.values()) <= BOUNDS.size


TestDoor = Door.TestCase
TestDoor.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_equals_do_not_displace_each_other() -> None:
    """Who came first among equals is served first, so the newcomer is the one who can't wait."""
    admission: Admission[str] = Admission(Bounds(1, 100))
    heap: AgingHeap[str] = AgingHeap(0.2)
    admission.enter(heap.push("first", 1.0, 0), 1)
    with pytest.raises(Full):
        admission.offer(heap.key(1.0, 1), 1)


def test_age_protects() -> None:
    """After d/r seconds of waiting a job would be served before the newcomer: it stays."""
    admission: Admission[str] = Admission(Bounds(1, 100))
    heap: AgingHeap[str] = AgingHeap(0.2)
    admission.enter(heap.push("normal", 1.0, 0), 1)
    assert admission.offer(heap.key(2.0, 5 * NANO - 1), 1)
    with pytest.raises(Full):
        admission.offer(heap.key(2.0, 5 * NANO), 1)


def test_memory_is_bounded_by_who_waits() -> None:
    admission: Admission[int] = Admission(Bounds(10, 10**9))
    heap: AgingHeap[int] = AgingHeap(0.2)
    for turn in range(10_000):
        entry = heap.push(turn, 1.0, turn)
        admission.enter(entry, 1)
        admission.leave(entry)
    assert len(admission._worst) < 200


def test_rate_before_any_start() -> None:
    rate = ServiceRate()
    assert rate.wait_s(5, NANO) is None
    assert rate.retry_after(5, NANO) == 1


def test_rate_of_a_steady_service() -> None:
    rate = ServiceRate(window=10)
    for second in range(100):
        rate.mark(second * NANO // 2)  # two a second
    now = 100 * NANO // 2
    assert rate.wait_s(0, now) == pytest.approx(0.5)
    assert rate.wait_s(9, now) == pytest.approx(5.0)
    assert rate.retry_after(9, now) == 5


def test_rate_of_a_service_that_stopped() -> None:
    """Nothing starts any more: the estimate grows with the silence, up to the limit."""
    rate = ServiceRate()
    rate.mark(0)
    assert rate.retry_after(0, 20 * NANO) == 20
    assert rate.retry_after(0, 10_000 * NANO) == RETRY_MAX_S


def test_time_without_work_does_not_count() -> None:
    rate = ServiceRate()
    for tenth in range(100):
        rate.mark(tenth * NANO // 10)
    rate.pause(10 * NANO)
    rate.resume(3600 * NANO)
    assert rate.wait_s(0, 3600 * NANO) == pytest.approx(0.1)
