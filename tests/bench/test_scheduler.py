"""The scheduler's simulation: what it conserves, and what it says about each policy."""

import asyncio
import random
import sys
from itertools import combinations

import pytest

from bench.scheduler import traces
from bench.scheduler.measure import jain, largest_lead, overtaken_in_class, percentile, summarise
from bench.scheduler.policies import (
    FIFO,
    FORGE,
    FORGE_PREEMPT,
    POLICIES,
    STRICT,
    STUDY,
    STUDY_INT,
    Desk,
    Policy,
)
from bench.scheduler.simulator import Outcome, simulate
from bench.scheduler.study import PERIOD_S, RATE, StudyQueue
from bench.scheduler.study_cpp import compiled
from bench.scheduler.traces import BATCH, NORMAL, URGENT, Trace
from bench.scheduler.virtual import VirtualLoop, now_ns
from gateway.core.clock import NANO
from gateway.pool import Pool

LEVEL_NS = round(NANO / RATE)
"""d/r for one level."""

RANDOM = [traces.poisson(120, load=1.1), traces.bursty(90), traces.endless_urgent(120)]
SHORT = [*RANDOM, traces.twenty_urgent()]


def by_name(value: Trace | Policy) -> str:
    return value.name


# --------------------------------------------------------------------------- the means


def test_virtual_time_jumps_to_the_next_timer() -> None:
    seen = []

    async def script() -> None:
        for seconds in (0.1, 3600.0, 1e-9):
            await asyncio.sleep(seconds)
            seen.append(now_ns())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(script())
    assert seen == [NANO // 10, 3600 * NANO + NANO // 10, 3600 * NANO + NANO // 10 + 1]


def test_virtual_time_says_when_nothing_can_happen_any_more() -> None:
    loop = VirtualLoop()
    try:
        with pytest.raises(RuntimeError, match="nothing will ever happen"):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()


def test_traces_are_reproducible() -> None:
    assert traces.poisson(60) == traces.poisson(60)
    assert traces.poisson(60) != traces.poisson(60, seed=9)
    for trace in SHORT:
        instants = [arrival.at_ns for arrival in trace.arrivals]
        assert instants == sorted(instants)
        assert all(arrival.service_ns > 0 for arrival in trace.arrivals)


@pytest.mark.parametrize(
    ("trace", "load"),
    [
        (traces.poisson(3600), 0.9),
        (traces.bursty(3600), (10 * 3 + 50 * 0.4) / 60),
        (traces.endless_urgent(600), 1.13),
    ],
    ids=["poisson", "bursty", "endless"],
)
def test_traces_have_the_load_they_claim(trace: Trace, load: float) -> None:
    work = sum(arrival.service_ns for arrival in trace.arrivals)
    assert work / (trace.slots * trace.arrivals[-1].at_ns) == pytest.approx(load, rel=0.06)


def test_known_fairness() -> None:
    assert jain([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain([1.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert jain([1.0, 2.0, 3.0]) == pytest.approx(36 / 42)


def test_known_percentiles() -> None:
    values = [float(n) for n in range(1, 101)]
    random.Random(0).shuffle(values)
    assert [percentile(values, q) for q in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([7.0], 0.5) == 7


# --------------------------------------------------------------------------- what always holds


@pytest.mark.parametrize("policy", POLICIES, ids=by_name)
@pytest.mark.parametrize("trace", SHORT, ids=by_name)
def test_every_job_is_served_once_and_in_full(trace: Trace, policy: Policy) -> None:
    outcome = simulate(trace, policy)
    assert sorted(job.turn for job in outcome.jobs) == list(range(len(trace.arrivals)))
    changes = []
    for job, arrival in zip(outcome.jobs, trace.arrivals, strict=True):
        assert job.arrival == arrival
        assert job.ran_ns == arrival.service_ns
        assert job.runs[0][0] >= arrival.at_ns
        assert job.runs == sorted(job.runs)
        assert job.ended_ns == job.runs[-1][1]
        assert job.wait_s >= 0
        changes += [change for start, end in job.runs for change in ((start, 1), (end, -1))]
    busy = 0
    for _, change in sorted(changes):
        busy += change
        assert 0 <= busy <= trace.slots
    if policy is not FORGE_PREEMPT:
        assert summarise(outcome).parks == 0


def test_same_trace_same_outcome() -> None:
    first, second = (simulate(RANDOM[1], FORGE_PREEMPT) for _ in range(2))
    assert [job.runs for job in first.jobs] == [job.runs for job in second.jobs]


def test_error_in_a_policy_ends_the_simulation() -> None:
    """It may happen in a timer, where asyncio would log it and go on."""

    def open_(pool: Pool) -> Desk:
        desk = FORGE.open(pool)
        return Desk(lambda number, priority: 1 // 0, desk.run, desk.listener)

    with pytest.raises(ZeroDivisionError):
        simulate(traces.twenty_urgent(), Policy("broken", open_))


# --------------------------------------------------------------------------- the seed's question

URGENT_JOBS = [f"u{i}" for i in range(20)]


def turns(policy: Policy) -> list[str]:
    """Return the order of starts: n is the normal job, u0 to u19 the urgent ones."""
    names = ["n", *URGENT_JOBS]
    return [names[number] for number in simulate(traces.twenty_urgent(), policy).order()]


def after(urgent: int) -> list[str]:
    """The normal job's turn comes after so many urgent ones."""
    return [*URGENT_JOBS[:urgent], "n", *URGENT_JOBS[urgent:]]


def test_twenty_urgent_and_one_normal() -> None:
    """u0 comes with n at 0 s, u5 at 4.5 s, u6 at 5.4 s; a slot gets free at 1, 2, 3... s."""
    assert turns(FIFO) == after(0)
    assert turns(STRICT) == after(20)
    # u5 came less than d/r = 5 s after n, u6 later.
    assert turns(FORGE) == after(6)
    # An int never ages.
    assert turns(STUDY_INT) == after(20)
    # Five passes before u6 came should have made n its equal, but five times 0.2 added to 1.0 is a
    # little less than 2.0; u7 came after six passes.
    assert turns(STUDY) == after(7)


def test_twenty_urgent_and_one_normal_with_preemption() -> None:
    """n starts at 6 s as without; u6 may take its slot after the quantum of 0.5 s, for 1 s."""
    outcome = simulate(traces.twenty_urgent(), FORGE_PREEMPT)
    half = NANO // 2
    assert outcome.order() == simulate(traces.twenty_urgent(), FORGE).order()
    assert outcome.jobs[0].runs == [(12 * half, 13 * half), (15 * half, 16 * half)]


# --------------------------------------------------------------------------- the order


def violations(outcome: Outcome) -> int:
    """Pairs of jobs where the later one went first although it came too late to."""
    found = 0
    for early, late in combinations(outcome.jobs, 2):
        lead_ns = late.arrival.at_ns - early.arrival.at_ns
        bound_ns = (late.arrival.priority - early.arrival.priority) * LEVEL_NS
        found += late.turn < early.turn and lead_ns >= bound_ns
    return found


@pytest.mark.parametrize("trace", RANDOM, ids=by_name)
def test_bound_holds_for_every_pair(trace: Trace) -> None:
    assert violations(simulate(trace, FORGE)) == 0


def test_others_break_the_bound() -> None:
    """So the test above can fail."""
    trace = traces.endless_urgent(120)
    assert violations(simulate(trace, STRICT)) > 100
    assert violations(simulate(trace, STUDY)) > 100


def test_strict_priority_starves_and_aging_does_not() -> None:
    trace = traces.endless_urgent(300)
    starved = {policy: summarise(simulate(trace, policy)).starved for policy in POLICIES}
    assert min(starved[STRICT], starved[STUDY_INT]) > 30
    assert starved[FIFO] == starved[STUDY] == starved[FORGE] == starved[FORGE_PREEMPT] == 0


def test_lead_settles_at_d_over_r() -> None:
    """The seed's also, plus its period; but it doesn't keep the order within a class."""
    outcome = simulate(traces.endless_urgent(300), FORGE)
    seed = simulate(traces.endless_urgent(300), STUDY)
    for low in (NORMAL, BATCH):
        bound = (URGENT - low) / RATE
        assert bound - 0.5 < largest_lead(outcome, low, URGENT) < bound
        assert bound < largest_lead(seed, low, URGENT) < bound + PERIOD_S
    assert overtaken_in_class(outcome) == 0
    assert overtaken_in_class(seed) > 100


def test_urgent_work_waits_under_fifo() -> None:
    trace = traces.bursty(90)
    p99 = {policy: summarise(simulate(trace, policy)).waits[URGENT].p99 for policy in POLICIES}
    assert p99[STRICT] < p99[FORGE] < p99[FIFO]
    assert p99[FORGE_PREEMPT] < p99[FORGE]


# --------------------------------------------------------------------------- the seed's queue


def drained(priorities: list[float], passes: int) -> list[int]:
    """Numbers of the jobs, in the order in which they come out after some passes."""
    queue: StudyQueue[int] = StudyQueue(RATE)
    for number, priority in enumerate(priorities):
        queue.push(number, priority)
    for _ in range(passes):
        queue.age()
    return [queue.pop() for _ in priorities]


def test_seed_queue_does_what_the_seed_does() -> None:
    """Ties too: they come out as in libstdc++'s std::priority_queue."""
    rng = random.Random(1)
    with compiled() as study_cpp:
        if study_cpp is None or sys.platform != "linux":
            pytest.skip("needs a C++ compiler with libstdc++")
        for passes in (0, 1, 7):
            priorities = [float(rng.randint(0, 2)) for _ in range(300)]
            assert drained(priorities, passes) == study_cpp.order(priorities, passes)


def test_seed_queue_ages() -> None:
    described: StudyQueue[str] = StudyQueue(RATE)
    published: StudyQueue[str] = StudyQueue(RATE, integer=True)
    for queue in (described, published):
        queue.push("normal", 1)
        for _ in range(6):
            queue.age()
        queue.push("urgent", 2)
    assert described.pop() == "normal"
    assert published.pop() == "urgent"
