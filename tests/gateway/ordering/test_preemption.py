"""The rules of preemption: which sequence must yield, and which can't be asked."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.clock import NANO
from gateway.ordering.preemption import PreemptionRules, spare_victims

RULES = PreemptionRules(quantum_s=0.5, aging_rate=0.2)
NOW = 100 * NANO


@dataclass(frozen=True)
class Job:
    priority: float = 1.0
    arrived_ns: int = 0
    slot_since_ns: int = 0
    parked_ns: int = 0


def test_the_lowest_priority_yields() -> None:
    jobs = [Job(1.0), Job(0.0), Job(1.5)]
    assert RULES.victim(jobs, 2.0, NOW) == (jobs[1], 0)


def test_the_youngest_of_equals_yields() -> None:
    jobs = [Job(arrived_ns=1), Job(arrived_ns=3), Job(arrived_ns=2)]
    assert RULES.victim(jobs, 2.0, NOW) == (jobs[1], 0)


def test_equals_do_not_preempt() -> None:
    assert RULES.victim([Job(1.0), Job(2.0)], 1.0, NOW) == (None, 0)


def test_a_job_keeps_its_slot_for_a_quantum() -> None:
    young = Job(slot_since_ns=NOW - NANO // 10)
    victim, wait_ns = RULES.victim([young], 2.0, NOW)
    assert victim is None
    assert wait_ns == 4 * NANO // 10
    assert RULES.victim([young], 2.0, NOW + wait_ns) == (young, 0)


def test_a_job_parked_for_d_over_r_is_immune() -> None:
    lead_ns = 5 * NANO  # one level at a rate of 0.2
    tired, almost = Job(parked_ns=lead_ns), Job(parked_ns=lead_ns - 1)
    assert RULES.victim([tired], 2.0, NOW) == (None, 0)
    assert RULES.victim([almost], 2.0, NOW) == (almost, 0)
    # Somebody still more urgent has a longer lead.
    assert RULES.victim([tired], 3.0, NOW) == (tired, 0)


def test_without_ageing_nobody_is_immune() -> None:
    tired = Job(parked_ns=10**6 * NANO)
    assert PreemptionRules(0.5, 0.0).victim([tired], 1.1, NOW) == (tired, 0)


@given(
    st.lists(
        st.builds(
            Job,
            priority=st.sampled_from([0.0, 1.0, 2.0]),
            arrived_ns=st.integers(0, 10),
            slot_since_ns=st.integers(NOW - NANO, NOW),
            parked_ns=st.integers(0, 12 * NANO),
        ),
        max_size=6,
    ),
    st.sampled_from([0.0, 1.0, 2.0, 3.0]),
)
def test_any_victim_is_a_fair_one(jobs: list[Job], urgent: float) -> None:
    victim, wait_ns = RULES.victim(jobs, urgent, NOW)
    may = [job for job in jobs if job.priority < urgent and not RULES.immune(job, urgent)]
    due = [job for job in may if NOW - job.slot_since_ns >= NANO // 2]
    assert (victim is not None) == bool(due)
    assert (wait_ns > 0) == bool(may and not due)
    if victim is not None:
        assert victim in due
        assert victim.priority == min(job.priority for job in due)


@given(
    st.lists(
        st.builds(
            Job,
            priority=st.sampled_from([0.0, 1.0]),
            arrived_ns=st.integers(0, 10),
            slot_since_ns=st.just(NOW),
            parked_ns=st.integers(0, 12 * NANO),
        ),
        max_size=6,
    ),
    st.integers(-1, 8),
)
def test_no_quantum_and_no_pause_protects_a_spare_job(jobs: list[Job], count: int) -> None:
    victims = spare_victims(jobs, count)
    assert len(victims) == min(len(jobs), max(0, count))
    kept = list(jobs)
    for victim in victims:
        kept.remove(victim)
    order = [(job.priority, -job.arrived_ns) for job in (*victims, *kept)]
    assert order[: len(victims)] == sorted(order)[: len(victims)]
